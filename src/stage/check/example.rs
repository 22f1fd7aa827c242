//! How much a kind of check costs that is added: `checks::example` wants the guest to greet. It is planned, asked and
//! judged by what its own file says.

use serde_json::json;

use super::WayIn;
use super::plan::STAGE;
use super::questions::{Setting, answers, script};
use crate::checks::judge::testing::seen;
use crate::checks::judge::{Case, Seen, judge};
use crate::event::{CheckOutcome, CheckResult};
use crate::host::cancel::Cancel;
use crate::host::process::Cmd;
use crate::manifest::load::load_text;
use crate::stage::Work;
use crate::stage::recipe::testing::{TINY, planned};

const CHECKS: &str = r#"
[[checks]]
polite = "hello"
"#;

#[test]
fn a_kind_of_check_is_planned_asked_and_judged_by_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tiny.raw"), vec![0; 1 << 20]).unwrap();
    let manifest = load_text(&folder.path().join("m.toml"), &(TINY.to_owned() + CHECKS)).unwrap();
    let plan = planned(&manifest);
    let (_, node) = plan.nodes().find(|(_, node)| node.stage == STAGE).unwrap();
    assert_eq!(
        node.inputs["checks"],
        json!([{ "check": "polite", "asserts": { "polite": "hello" } }])
    );
    let Work::Check(work) = &node.work else {
        panic!("{node:?}")
    };
    assert_eq!(work.way_in, WayIn::Overlay, "no agent is needed for it");

    // What a guest runs, here.
    let ask = |greeting: &str| -> CheckResult {
        let questions = script(&work.checks, |_| true, &Setting::default());
        let guest = format!("GREETING='{greeting}'; export GREETING\n{questions}");
        let cmd = Cmd::new("/bin/sh").arg("-s").stdin(guest);
        let said = cmd.read(&Cancel::default()).unwrap();
        let first = Seen {
            answers: Ok(answers(&said).unwrap_or_else(|| panic!("{said}"))),
            ..seen()
        };
        let case = Case {
            checks: &work.checks,
            size: work.size,
            slower: 1,
            first: &first,
            second: None,
        };
        judge(&case).remove(0)
    };
    let good = ask("hello there");
    assert_eq!(
        (good.outcome, good.seen.as_str()),
        (CheckOutcome::Passed, "hello there")
    );
    let bad = ask("go away");
    assert_eq!(
        (bad.outcome, bad.seen.as_str(), bad.expected.as_str()),
        (
            CheckOutcome::Failed,
            "the greeting `go away`",
            "a greeting with `hello`"
        )
    );
}
