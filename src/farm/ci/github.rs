//! A workflow of GitHub Actions, which stays as it is while the manifest changes: its first job plans, and the jobs of each level
//! are a matrix of what that prints. A matrix cannot say which of its jobs needs which one before: a level waits for the
//! whole of the one before.

use std::fmt::Write as _;

use serde_json::json;

use super::{Common, FACTS, Job, in_one_line, listed, quoted};

/// The most jobs that GitHub makes of one matrix.
pub const LARGEST: usize = 256;

/// A plan that the workflow has no room for.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    #[error(
        "{0} jobs can run at once, and GitHub makes at most {LARGEST} of one matrix; select fewer images"
    )]
    Wide(usize),
    #[error("{0} jobs follow each other, and the workflow has {1} levels; make the workflow again")]
    Deep(usize, usize),
}

/// How many jobs follow each other at most.
pub fn levels(jobs: &[Job]) -> usize {
    jobs.iter().map(|job| job.level + 1).max().unwrap_or_default()
}

/// The workflow, for plans of so many levels.
pub fn workflow(levels: usize, common: &Common, origin: &str) -> String {
    let labels = listed(common.labels.iter().map(String::as_str));
    let outputs: String = (0..levels)
        .map(|level| format!("      level{level}: ${{{{ steps.plan.outputs.level{level} }}}}\n"))
        .collect();
    let plan = format!("{origin} --matrix {levels} >> \"$GITHUB_OUTPUT\"");
    let mut text = format!(
        "# Made by `{}`. What there is to build is asked for in each run: make it again when more jobs follow each other.\n\
         name: images\n\n\
         on: [push, pull_request, workflow_dispatch]\n\n\
         permissions:\n  contents: read\n\n\
         jobs:\n  plan:\n    runs-on: {labels}\n    outputs:\n      facts: ${{{{ steps.plan.outputs.facts }}}}\n{outputs}    \
         steps:\n      - uses: actions/checkout@v4\n      - id: plan\n        run: {}\n",
        in_one_line(origin),
        quoted(&plan)
    );
    for level in 0..levels {
        let _ = write!(
            text,
            "\n  level{level}:\n    name: ${{{{ matrix.name }}}}\n{}    strategy:\n      fail-fast: false\n      matrix:\n        \
             include: ${{{{ fromJSON(needs.plan.outputs.level{level}) }}}}\n    runs-on: ${{{{ matrix.labels }}}}\n    \
             timeout-minutes: ${{{{ matrix.minutes }}}}\n",
            after(level, &format!(" && needs.plan.outputs.level{level} != '[]'"))
        );
        add_steps(&mut text, "${{ matrix.command }}");
    }
    let _ = write!(text, "\n  deliver:\n{}    runs-on: {labels}\n", after(levels, ""));
    add_steps(&mut text, &quoted(&common.whole()));
    text
}

/// A level that has nothing to do is skipped, which is no reason to skip the next one.
fn after(level: usize, more: &str) -> String {
    let levels = (0..level).map(|level| format!(", level{level}"));
    format!(
        "    needs: [plan{}]\n    if: ${{{{ !cancelled() && !failure(){more} }}}}\n",
        levels.collect::<String>()
    )
}

fn add_steps(text: &mut String, command: &str) {
    let _ = write!(
        text,
        "    env:\n      FACTS: ${{{{ needs.plan.outputs.facts }}}}\n    steps:\n      - uses: actions/checkout@v4\n      \
         - run: printf '%s\\n' \"$FACTS\" > {FACTS}\n      - run: {command}\n"
    );
}

/// What the first job of the workflow leaves for the others, as its file of outputs wants it.
///
/// # Errors
/// [`Misfit`].
pub fn outputs(jobs: &[Job], levels: usize, common: &Common) -> Result<String, Misfit> {
    let deep = self::levels(jobs);
    if deep > levels {
        return Err(Misfit::Deep(deep, levels));
    }
    let mut text = format!("facts={}\n", common.facts);
    for level in 0..levels {
        let jobs: Vec<_> = jobs.iter().filter(|job| job.level == level).collect();
        if jobs.len() > LARGEST {
            return Err(Misfit::Wide(jobs.len()));
        }
        let rows = jobs.iter().map(|job| {
            json!({
                "name": job.name,
                "command": common.command(job),
                "labels": common.labels(job),
                "minutes": job.limit.as_secs() / 60,
            })
        });
        let _ = writeln!(text, "level{level}={}", json!(rows.collect::<Vec<_>>()));
    }
    Ok(text)
}
