use super::*;

const MIB: u64 = 1 << 20;

/// Days ago, from now on.
fn ago(days: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 - days * 86_400).unwrap()
}

fn object(path: &str, bytes: u64, days: i64) -> Object {
    Object {
        path: path.to_owned(),
        bytes,
        changed: ago(days),
    }
}

fn result(key: char, days: i64, condition: Condition, files: &[&str]) -> Listed {
    Listed {
        address: Address::new("package", &String::from(key).repeat(64)),
        built_for: None,
        signer: None,
        bytes: 0,
        stored_bytes: 0,
        created: None,
        put: ago(days),
        condition,
        files: files.iter().map(|file| (*file).to_owned()).collect(),
    }
}

/// Old a, b and c, of which a and b share a file, and a young d; a file of none, old, and one of a push that goes on.
fn contents() -> Contents {
    let files = [
        ("a", 50),
        ("ab", 50),
        ("c", 20),
        ("d", 1),
        ("left", 9),
        ("coming", 0),
    ];
    let files = files.map(|(name, days)| (name.to_owned(), object(name, MIB, days)));
    let whole = Condition::Whole;
    Contents {
        now: ago(0),
        results: vec![
            result('a', 50, whole, &["a", "ab"]),
            result('b', 40, whole, &["ab"]),
            result('c', 20, whole, &["c"]),
            result('d', 1, whole, &["d"]),
        ],
        files: files.into(),
        of_jobs: vec![object("runs/1", 7, 31), object("runs/2", 7, 29)],
        uploads: [(4, "old"), (2, "young")]
            .map(|(days, id)| Upload {
                path: String::new(),
                id: id.to_owned(),
                begun: ago(days),
            })
            .into(),
    }
}

fn days(days: u64) -> Option<Duration> {
    Some(Duration::from_secs(days * 86_400))
}

/// Which results go, by the first digit of their keys, and which files.
fn goes(contents: &Contents, policy: &Policy) -> (String, String) {
    let doomed = select(contents, policy);
    let keys = doomed.results.iter().map(|(result, _)| &result.address.key[..1]);
    let files: Vec<_> = doomed.files.iter().map(|file| file.path.as_str()).collect();
    (keys.collect(), files.join(" "))
}

fn both(results: &str, files: &str) -> (String, String) {
    (results.to_owned(), files.to_owned())
}

#[test]
fn what_belongs_to_no_result_goes_once_no_push_can_need_it() {
    let all = contents();
    assert_eq!(goes(&all, &Policy::default()), both("", "left"));
    let doomed = select(&all, &Policy::default());
    assert_eq!(doomed.counts(), (1, 1, 1));
    assert_eq!(doomed.uploads[0].id, "old");
    assert_eq!(doomed.of_jobs[0].path, "runs/1");
    // An entry that cannot be read may name any of the files.
    let mut other = contents();
    other.results.push(result('e', 9, Condition::Other, &[]));
    assert_eq!(goes(&other, &Policy::default()), both("", ""));
    assert_eq!(select(&other, &Policy::default()).others, 1);
    let policy = Policy {
        other_versions: true,
        ..Policy::default()
    };
    assert_eq!(goes(&other, &policy), both("e", "left"));
    // Those of a key that is not trusted here are others' own.
    let mut foreign = contents();
    foreign
        .results
        .push(result('f', 90, Condition::Foreign, &["left"]));
    let policy = Policy {
        older_than: days(60),
        ..Policy::default()
    };
    assert_eq!(goes(&foreign, &policy), both("", ""));
    // Of a result whose file is not there yet the list may be older than the file.
    let mut broken = contents();
    broken.results.push(result('a', 1, Condition::Broken, &["x"]));
    broken.results.push(result('b', 9, Condition::Broken, &["y"]));
    assert_eq!(goes(&broken, &Policy::default()), both("b", "left"));
}

#[test]
fn results_go_by_age_and_by_space_and_files_with_the_last_that_names_them() {
    let all = contents();
    let policy = |older_than, max_bytes: Option<u64>, keep: &[char]| Policy {
        older_than,
        max_bytes: max_bytes.map(|mib| mib * MIB),
        keep: keep
            .iter()
            .map(|key| result(*key, 0, Condition::Whole, &[]).address)
            .collect(),
        other_versions: false,
    };
    assert_eq!(goes(&all, &policy(days(45), None, &[])), both("a", "a left"));
    assert_eq!(goes(&all, &policy(days(30), None, &[])), both("ab", "a ab left"));
    assert_eq!(goes(&all, &policy(days(30), None, &['a'])), both("b", "left"));
    // Whatever is asked for: what is young stays.
    assert_eq!(
        goes(&all, &policy(days(0), None, &[])),
        both("abc", "a ab c left")
    );
    assert_eq!(goes(&all, &policy(None, Some(4), &[])), both("", "left"));
    assert_eq!(goes(&all, &policy(None, Some(3), &[])), both("a", "a left"));
    assert_eq!(goes(&all, &policy(None, Some(2), &[])), both("ab", "a ab left"));
    assert_eq!(goes(&all, &policy(None, Some(2), &['b'])), both("ac", "a c left"));
    let doomed = select(&all, &policy(None, Some(0), &[]));
    assert_eq!((doomed.results.len(), doomed.over), (3, MIB));
}
