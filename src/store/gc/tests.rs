use serde_json::json;

use super::super::lease::Needs;
use super::super::{Claim, Scratch};
use super::*;

fn address(name: &str) -> Address {
    Address::new("size", name)
}

fn build(store: &Store, scratch: &Scratch, name: &str) {
    let cancel = Cancel::default();
    let claim = store.claim("size", name, scratch, false, &cancel, &mut || {});
    let Claim::Miss(slot) = claim.unwrap() else {
        panic!("nothing was built yet")
    };
    fs::write(slot.path("disk"), vec![7; 8192]).unwrap();
    slot.commit(json!({}), json!({}), &cancel).unwrap();
}

/// A layer only saves time, however recently it was used.
#[test]
fn layers_go_before_what_images_are_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let scratch = store.scratch("1-build").unwrap();
    build(&store, &scratch, "old");
    let claim = store.try_claim(LAYER, "new", &scratch, false).unwrap();
    let Some(Claim::Miss(slot)) = claim else {
        panic!("nothing was built yet")
    };
    assert!(store.try_claim(LAYER, "new", &scratch, true).unwrap().is_none());
    fs::write(slot.path("disk"), vec![7; 8192]).unwrap();
    slot.commit(json!({}), json!({}), &Cancel::default()).unwrap();
    drop(scratch);
    let room = Policy {
        max_bytes: Some(store.results()[0].own_bytes),
        ..Policy::default()
    };
    assert_eq!(collect(&store, room), ["new"]);
    assert!(store.lookup("size", "old").is_some());
}

fn declare(store: &Store, run: &str, names: &[&str]) {
    let gate = store.gate(&Cancel::default(), &mut || {}).unwrap();
    let needs = Needs {
        pipeline: "p".to_owned(),
        results: names.iter().map(|name| address(name)).collect(),
        ..Needs::default()
    };
    store.declare(&gate, run, &needs).unwrap();
}

fn collect(store: &Store, policy: Policy) -> Vec<String> {
    let doomed = store
        .collect(policy, &Cancel::default(), &mut || {}, &mut |_| {})
        .unwrap();
    let mut names: Vec<_> = doomed
        .results
        .into_iter()
        .map(|(result, _)| result.address.key)
        .collect();
    names.sort();
    names
}

/// Three results: one that a living run needs, one that is pinned, one that is free to go.
#[test]
fn what_a_living_run_or_a_pin_needs_stays_whatever_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let living = store.scratch("1-living").unwrap();
    for name in ["needed", "pinned", "free"] {
        build(&store, &living, name);
    }
    declare(&store, "1-living", &["needed", "tocome"]);
    let gate = store.gate(&Cancel::default(), &mut || {}).unwrap();
    store.pin(&gate, "mine", &[address("pinned")].into()).unwrap();
    drop(gate);
    let all = Policy {
        max_bytes: Some(0),
        keep_runs: Some(0),
        unused_since: Some(Timestamp::MAX),
        ..Policy::default()
    };
    assert_eq!(collect(&store, all), ["free"]);
    assert!(store.lookup("size", "needed").is_some() && store.lookup("size", "pinned").is_some());
    assert_eq!(store.runs().len(), 1, "logs of a living run stay");
    assert!(store.unpin("mine").unwrap() && !store.unpin("mine").unwrap());
    drop(living);
    assert_eq!(collect(&store, all), ["needed", "pinned"]);
    assert!(
        store.runs().is_empty()
            && fs::read_dir(folder.path().join("scratch"))
                .unwrap()
                .next()
                .is_none()
    );
}

#[test]
fn the_least_recently_used_go_first_and_kept_runs_hold_what_they_need() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let scratch = store.scratch("9-build").unwrap();
    for (name, age) in [("a", 30), ("b", 20), ("c", 10)] {
        build(&store, &scratch, name);
        let record = store.result_folder("size", name).join("entry.json");
        let used = SystemTime::now() - Duration::from_secs(age * 3600);
        fs::File::open(record).unwrap().set_modified(used).unwrap();
    }
    drop(scratch);
    let each = store.results()[0].own_bytes;
    assert!(each >= 8192);
    declare(&store, "1-old", &["b"]);
    declare(&store, "2-new", &["a"]);
    let order: Vec<_> = store
        .results()
        .into_iter()
        .map(|result| result.address.key)
        .collect();
    assert_eq!(order, ["c", "b", "a"], "declaring is using");
    let room = |bytes| Policy {
        max_bytes: Some(bytes),
        ..Policy::default()
    };
    let plan = select(&store.inventory(), room(each));
    assert_eq!(plan.results.len(), 2);
    let kept = Policy {
        keep_runs: Some(1),
        ..room(0)
    };
    let plan = select(&store.inventory(), kept);
    assert_eq!((plan.results.len(), plan.runs.len(), plan.over), (2, 1, each));
    assert_eq!(collect(&store, room(each)), ["b", "c"]);
}

/// A day of work on one image, in a folder whose manifest has the name of another one's, costs no other image.
#[test]
fn the_last_good_result_of_every_image_of_every_manifest_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let scratch = store.scratch("9-build").unwrap();
    let manifest = |name: &str| folder.path().join(name).join("images.toml");
    let run = |id: &str, project: &str, subjects: &[(&str, &str)], whole: bool| {
        let gate = store.gate(&Cancel::default(), &mut || {}).unwrap();
        let history = format!("images.{project}");
        let nodes = subjects.iter().map(|(subject, _)| format!("size/{subject}"));
        let needs = Needs {
            pipeline: "images".to_owned(),
            manifest: Some(manifest(project)),
            history: history.clone(),
            whole: whole.then(|| nodes.collect()),
            results: subjects.iter().map(|(_, key)| address(key)).collect(),
        };
        store.declare(&gate, id, &needs).unwrap();
        for (subject, key) in subjects {
            if store.lookup("size", key).is_none() {
                build(&store, &scratch, key);
            }
            let latest = store.lookup("size", key).unwrap().latest();
            store.set_latest(&history, "size", subject, &latest).unwrap();
        }
    };
    for project in ["a", "b"] {
        fs::create_dir(folder.path().join(project)).unwrap();
        fs::write(manifest(project), "").unwrap();
    }
    run("01", "a", &[("3G", "a3"), ("4G", "a4"), ("dropped", "ad")], true);
    run("02", "a", &[("3G", "a3"), ("4G", "a4")], true);
    // Newer than the run of all images, and no need of any run that is kept.
    run("03", "a", &[("4G", "a4new")], false);
    for number in 10..20 {
        let key = format!("b{number}");
        run(&number.to_string(), "b", &[("3G", &key)], false);
        run(&format!("{number}a"), "a", &[("3G", "a3")], false);
    }
    drop(scratch);
    let five = Policy {
        keep_runs: Some(5),
        ..Policy::default()
    };
    assert_eq!(
        collect(&store, five),
        ["ad", "b10", "b11", "b12", "b13", "b14"],
        "what was dropped or replaced"
    );
    let runs: Vec<_> = store.runs().into_iter().map(|run| run.id).collect();
    assert!(
        runs.contains(&"02".to_owned()),
        "the newest run of all images: {runs:?}"
    );
    assert!(!runs.contains(&"03".to_owned()), "{runs:?}");
    let latest = store.latest("images.a", "size", "3G").unwrap();
    assert_eq!(
        latest.key, "a3",
        "a manifest of the same name has another history"
    );
}

#[test]
fn results_of_another_version_are_left_alone_and_built_next_to() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let scratch = store.scratch("9-build").unwrap();
    build(&store, &scratch, "one");
    let record = store.result_folder("size", "one").join("entry.json");
    let other = fs::read_to_string(&record)
        .unwrap()
        .replace("\"version\": 1", "\"version\": 9");
    fs::write(&record, &other).unwrap();
    assert!(store.lookup("size", "one").is_none(), "it is not ours");
    build(&store, &scratch, "one");
    assert!(store.lookup("size", "one").is_some());
    assert_eq!(fs::read_to_string(&record).unwrap(), other, "it stays as it was");
    let conditions = |store: &Store| {
        let mut all: Vec<_> = store.results().iter().map(|result| result.condition).collect();
        all.sort_by_key(|condition| *condition != Condition::Other);
        all
    };
    assert_eq!(conditions(&store), [Condition::Other, Condition::Whole]);
    drop(scratch);
    let everything = Policy {
        keep_runs: Some(0),
        max_bytes: Some(0),
        unused_since: Some(Timestamp::MAX),
        ..Policy::default()
    };
    assert_eq!(select(&store.inventory(), everything).others, 1);
    assert_eq!(collect(&store, everything), ["one"]);
    assert_eq!(conditions(&store), [Condition::Other]);
    let asked = Policy {
        other_versions: true,
        ..everything
    };
    assert_eq!(collect(&store, asked), ["one"]);
    assert!(store.results().is_empty());
}

/// Whoever looks up and declares under the gate finds afterwards what it found before.
#[test]
fn a_run_that_starts_during_clean_ups_keeps_what_it_saw() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let everything = Policy {
                max_bytes: Some(0),
                keep_runs: Some(0),
                ..Policy::default()
            };
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                collect(&store, everything);
            }
        });
        let mut seen = 0;
        for round in 0..40 {
            let run = format!("{round}-run");
            let scratch = store.scratch(&run).unwrap();
            if store.lookup("size", "x").is_none() {
                declare(&store, &run, &["x"]);
                build(&store, &scratch, "x");
            }
            let gate = store.gate(&Cancel::default(), &mut || {}).unwrap();
            let there = store.lookup("size", "x").is_some();
            let needs = Needs {
                pipeline: "p".to_owned(),
                results: [address("x")].into(),
                ..Needs::default()
            };
            store.declare(&gate, &run, &needs).unwrap();
            drop(gate);
            std::thread::sleep(Duration::from_millis(2));
            seen += usize::from(there);
            assert_eq!(store.lookup("size", "x").is_some(), there, "round {round}");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(seen > 0);
    });
}
