//! A child pipeline of GitLab: a job for each chain, which starts when the chains that it takes results of are done.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Common, FACTS, Job, in_one_line, listed, quoted};
use crate::host::process::shell_quote;
use crate::size::MIB;

/// The pipeline. `origin` is the command that prints it.
pub fn pipeline(jobs: &[Job], common: &Common, origin: &str) -> String {
    let mut text = format!(
        "# Made by `{}`: what the remote store did not have then.\n\
         stages: [build, deliver]\n\n\
         default:\n  interruptible: true\n  retry:\n    max: 1\n    when: [runner_system_failure, stuck_or_timeout_failure]\n  \
         before_script:\n    - {}\n",
        in_one_line(origin),
        quoted(&format!(
            "printf '%s\\n' {} > {FACTS}",
            shell_quote(&common.facts)
        )),
    );
    for job in jobs {
        let _ = write!(text, "\n{}:\n  stage: build\n", quoted(&job.name));
        let _ = writeln!(text, "  needs: {}", listed(job.after.iter().map(String::as_str)));
        add_tags(&mut text, &common.labels(job));
        let _ = writeln!(text, "  timeout: {}", quoted(&in_words(job.limit)));
        // The executor for Kubernetes alone reads these.
        let _ = writeln!(
            text,
            "  variables:\n    KUBERNETES_MEMORY_REQUEST: \"{}Mi\"\n    KUBERNETES_CPU_REQUEST: \"{}\"",
            job.cost.memory.div_ceil(MIB),
            job.cost.cpus.max(1)
        );
        let _ = writeln!(text, "  script:\n    - {}", quoted(&common.command(job)));
    }
    // Without `needs` it waits for the whole stage before it, and no limit of needs is in the way.
    text += "\ndeliver:\n  stage: deliver\n";
    let labels: Vec<_> = common.labels.iter().map(String::as_str).collect();
    add_tags(&mut text, &labels);
    let _ = writeln!(text, "  script:\n    - {}", quoted(&common.whole()));
    text
}

fn add_tags(text: &mut String, labels: &[&str]) {
    if !labels.is_empty() {
        let _ = writeln!(text, "  tags: {}", listed(labels.iter().copied()));
    }
}

/// As GitLab reads durations.
fn in_words(limit: Duration) -> String {
    let minutes = limit.as_secs() / 60;
    format!("{}h {}m", minutes / 60, minutes % 60)
}
