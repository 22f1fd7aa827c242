//! How much a stage costs that is added: `stage::example` stands between packaging and checking and leaves two files. They
//! must appear wherever the image does, by what the stage says of itself alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use super::execute::Shared;
use super::prepare::{Ask, Prepared, prepare};
use super::schedule::Budget;
use super::workers::{OnFailure, Tally, carry_out};
use crate::digest::{Algorithm, sha256_hex};
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::fs::hash_file;
use crate::host::process::Cmd;
use crate::machine::disk::{Image, Layer, Layers};
use crate::machine::spec::{Accel, DiskFormat};
use crate::manifest::load::load;
use crate::plan::assess::State;
use crate::size::GIB;
use crate::stage::aftermath::OnError;
use crate::stage::recipe::Wanted;
use crate::stage::recipe::testing::TINY;
use crate::stage::{Node, Order, size};
use crate::store::{Claim, Store};

const MANIFEST: &str = r#"
[vars]
example = "hello"

[publish.directory]
path = "share"
"#;

struct House {
    folder: PathBuf,
    store: Store,
}

impl House {
    fn prepare(&self, rebuild: &dyn Fn(&Node) -> bool) -> Prepared {
        let mut manifest = load(&self.folder.join("m.toml")).unwrap();
        manifest.output = self.folder.join("out");
        let wanted = Wanted {
            checks: false,
            upload: true,
        };
        let ask = Ask {
            wanted,
            rebuild,
            ..Ask::default()
        };
        prepare(&manifest, &[0], &self.store, ask, &|_| {}).unwrap()
    }

    fn run(&self, prepared: &Prepared) -> Tally {
        let cancel = Cancel::default();
        let scratch = self.store.scratch("run").unwrap();
        let (sender, _events) = mpsc::channel();
        let shared = Shared {
            store: &self.store,
            remote: None,
            scratch: &scratch,
            run: "run",
            on_error: OnError::Abort,
            layers: false,
            reread: std::time::Duration::ZERO,
            attend: &|_, _| {},
            logs: &self.store.run_folder("run"),
            pipeline: "m",
            history: &prepared.plan.history,
            manifest: Path::new("m.toml"),
            accel: Accel::Tcg,
            cpus: 1,
            program: Path::new("pipeline"),
            order: &Arc::new(Order {
                files: vec![PathBuf::from(IMAGE)],
                ids: vec!["tiny-3G-base".to_owned()],
            }),
            cancel: &cancel,
        };
        let budget = Budget {
            memory: 64 * GIB,
            cpus: 2,
            scratch: 64 * GIB,
            jobs: 2,
        };
        let emit = Emitter::new(sender);
        carry_out(
            prepared,
            "run",
            budget,
            OnFailure::KeepGoing,
            None,
            &shared,
            &emit,
        )
        .unwrap()
    }

    /// Nodes to do, with the reason of each.
    fn todo(&self) -> Vec<(String, String)> {
        let prepared = self.prepare(&|_| false);
        let todo = prepared.todo();
        todo.map(|(index, node)| (node.id(), prepared.assessments[&index].reason.clone()))
            .collect()
    }
}

const IMAGE: &str = "tiny-3G-base/tiny-3G-base.qcow2.gz";

#[test]
#[expect(clippy::too_many_lines, reason = "a story is read from top to bottom")]
fn two_files_of_a_stage_appear_wherever_their_image_does() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("m.toml"), TINY.to_owned() + MANIFEST).unwrap();
    fs::write(at("tiny.raw"), vec![0; 1 << 20]).unwrap();
    fs::create_dir(at("share")).unwrap();
    let store = Store::open(&at("store")).unwrap();
    let house = House {
        folder: folder.path().to_owned(),
        store,
    };
    // The disk is there: no machine has to boot for it.
    let prepared = house.prepare(&|_| false);
    let scratch = house.store.scratch("fill").unwrap();
    let cancel = Cancel::default();
    for stage in ["provision", "size"] {
        let mut nodes = prepared.plan.nodes();
        let (_, node) = nodes.find(|(_, node)| node.stage.name == stage).unwrap();
        let claim = house
            .store
            .claim(stage, &node.key, &scratch, false, &cancel, &mut || {});
        let Claim::Miss(slot) = claim.unwrap() else {
            panic!("nothing was built yet")
        };
        let layer = Layer::raw(&at("tiny.raw"), &cancel).unwrap();
        let image = Image::whole(Layers::new(vec![layer]), DiskFormat::Qcow2);
        image.write(&slot.path(size::DISK), &cancel).unwrap();
        let facts = serde_json::json!({ "size": 1 << 20 });
        slot.commit(node.inputs.clone(), facts, &cancel).unwrap();
    }
    drop(scratch);

    let prepared = house.prepare(&|_| false);
    let ids: Vec<_> = prepared.todo().map(|(_, node)| node.id()).collect();
    assert_eq!(
        ids,
        [
            "package/tiny-3G-base",
            "example/tiny-3G-base",
            "sums/tiny-3G-base",
            "upload/tiny-3G-base@directory",
            "index/tiny-3G-base@directory"
        ]
    );
    let tally = house.run(&prepared);
    assert_eq!((tally.built, tally.failed, tally.skipped), (5, 0, 0));

    let names = ["", ".note", ".sha256"].map(|end| format!("{IMAGE}{end}"));
    for place in ["out", "share"] {
        let found: Vec<_> = names
            .iter()
            .filter(|name| at(place).join(name).is_file())
            .collect();
        assert_eq!(found.len(), 3, "in {place}: {found:?}");
    }
    assert_eq!(fs::read_to_string(at("share").join(&names[1])).unwrap(), "hello");
    for (program, list) in [("sha512sum", "SHA512SUM.txt"), ("md5sum", "MD5SUM.txt")] {
        let cmd = Cmd::new(program)
            .args(["--check", "--strict", list])
            .folder(&at("out"));
        let said = cmd.read(&Cancel::default()).unwrap();
        let expected = names.each_ref().map(|name| format!("{name}: OK\n")).concat();
        assert_eq!(said, expected, "the image first, what belongs to it behind it");
    }
    let index: serde_json::Value = serde_json::from_slice(&fs::read(at("out/index.json")).unwrap()).unwrap();
    let beside = index["images"][0]["beside"].as_array().unwrap();
    let listed: Vec<_> = beside.iter().map(|file| file["file"].as_str().unwrap()).collect();
    assert_eq!(listed, [&names[1], &names[2]]);
    let url = beside[0]["urls"]["directory"]["url"].as_str().unwrap();
    assert!(url.ends_with(".note"), "{url}");

    // Only what publishes is looked at again, and nothing is sent twice.
    let left = |todo: Vec<(String, String)>| -> Vec<String> {
        let stages = todo
            .iter()
            .map(|(id, _)| id.split('/').next().unwrap().to_owned());
        stages.collect()
    };
    assert_eq!(left(house.todo()), ["upload", "index"]);
    let tally = house.run(&house.prepare(&|_| false));
    assert_eq!((tally.built, tally.present), (0, 2));

    // A file that is published with the image is as good a reason as the image itself.
    fs::remove_file(at("out").join(&names[1])).unwrap();
    let todo = house.todo();
    assert_eq!(todo[0].0, "sums/tiny-3G-base");
    assert!(todo[0].1.ends_with(".note is missing"), "{}", todo[0].1);

    // What is made of the image's bytes is made again with them, whatever its key.
    let again = house.prepare(&|node| node.id() == "package/tiny-3G-base");
    let verdict = |stage: &str| {
        let (index, _) = again
            .plan
            .nodes()
            .find(|(_, node)| node.stage.name == stage)
            .unwrap();
        again.assessments[&index].state
    };
    assert_eq!((verdict("example"), verdict("sums")), (State::Todo, State::Todo));

    // And also where the run that packaged the image was killed before that.
    let mut packaged = again
        .plan
        .nodes()
        .filter(|(_, node)| node.stage.name == "package");
    let (_, package) = packaged.next().unwrap();
    let scratch = house.store.scratch("killed").unwrap();
    let cancel = Cancel::default();
    let claim = house
        .store
        .claim("package", &package.key, &scratch, true, &cancel, &mut || {});
    let Claim::Miss(mut slot) = claim.unwrap() else {
        panic!("it is built again")
    };
    let image = slot.path("image");
    fs::write(&image, "other bytes").unwrap();
    slot.set_digests("image", hash_file(&image, &Algorithm::ALL, &cancel).unwrap());
    let built = house.store.lookup("package", &package.key).unwrap();
    let facts = built.facts().clone();
    slot.commit(package.inputs.clone(), facts, &cancel).unwrap();
    drop(scratch);
    let tally = house.run(&house.prepare(&|_| false));
    assert_eq!(tally.failed, 0);
    let digest = fs::read_to_string(at("share").join(&names[2])).unwrap();
    assert_eq!(digest, sha256_hex(b"other bytes"));
}
