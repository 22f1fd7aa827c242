//! `pipeline ci`: a manifest's plan as a pipeline of a CI system.

use std::num::NonZeroUsize;

use super::exit::Exit;
use super::remote::{RemoteArgs, warn};
use super::report_error::{fail, out};
use super::target::{CheckArgs, Selection, StoreArgs, UploadArgs, WorkArgs, wanted};
use crate::farm::ci::{Common, Job, github, gitlab, jobs};
use crate::host::process::shell_quote;

/// Arguments of `pipeline ci`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pipeline ci gitlab images.toml > child.yml\n  \
    pipeline ci github images.toml > .github/workflows/images.yml\n\n\
    Each job runs this program on a part of the plan; results pass from one to the next by the remote store. docs/ci.md \
    shows a whole set-up.")]
pub struct Args {
    #[command(subcommand)]
    system: System,
}

#[derive(Debug, clap::Subcommand)]
enum System {
    /// A child pipeline, made in the pipeline that starts it
    Gitlab(Asked),
    /// A workflow, which plans in its first job
    Github {
        #[command(flatten)]
        asked: Asked,
        /// For the workflow: print what there is to do as outputs of its first job, for so many levels
        #[arg(long, value_name = "LEVELS", hide = true)]
        matrix: Option<usize>,
    },
}

/// What the jobs are of, and who runs them.
#[derive(Debug, clap::Args)]
struct Asked {
    #[command(flatten)]
    target: Selection,
    #[command(flatten)]
    upload: UploadArgs,
    #[command(flatten)]
    checks: CheckArgs,
    /// Label of the runners that take the jobs (a tag of GitLab's) [default for GitHub: self-hosted]
    #[arg(long = "runner", value_name = "LABEL")]
    runners: Vec<String>,
    /// Another label of those that start virtual machines
    #[arg(long, value_name = "LABEL", default_value = "kvm")]
    machine_runner: String,
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    match &args.system {
        System::Gitlab(asked) => {
            let (jobs, common) = asked.jobs(&[], asked.remote.settings()?.workers)?;
            out(&gitlab::pipeline(
                &jobs,
                &common,
                &asked.origin("gitlab", &common),
            ));
        }
        System::Github { asked, matrix } => {
            // How many of its jobs follow each other must not depend on what earlier runs took.
            let (jobs, common) = asked.jobs(&["self-hosted".to_owned()], None)?;
            let text = match matrix {
                Some(levels) => github::outputs(&jobs, *levels, &common)
                    .map_err(|error| fail(Exit::Usage, miette::miette!("{error}")))?,
                None => {
                    let origin = asked.origin("github", &common);
                    github::workflow(github::levels(&jobs), &common, &origin)
                }
            };
            out(&text);
        }
    }
    Ok(Exit::Ok)
}

impl Asked {
    fn jobs(&self, runners: &[String], workers: Option<NonZeroUsize>) -> Result<(Vec<Job>, Common), Exit> {
        let (manifest, selected) = self.target.load()?;
        let store = self.store.look()?;
        let remote = self.remote.need()?;
        let wanted = wanted(&self.checks, &self.upload)?;
        let prepared = WorkArgs::default().prepare(&manifest, &selected, &store, Some(&remote), wanted)?;
        warn(&remote);
        let own = if self.runners.is_empty() {
            runners
        } else {
            &self.runners
        };
        let common = Common {
            words: self.target.as_typed() + self.checks.as_typed() + self.upload.as_typed(),
            facts: prepared.facts.as_json(),
            labels: own.to_vec(),
            machine_label: self.machine_runner.clone(),
        };
        Ok((jobs(&prepared.plan, &prepared.assessments, workers), common))
    }

    /// The command that prints it.
    fn origin(&self, system: &str, common: &Common) -> String {
        let runners = self.runners.iter();
        let runners: String = runners
            .map(|label| format!(" --runner {}", shell_quote(label)))
            .collect();
        let machine = shell_quote(&self.machine_runner);
        format!(
            "pipeline ci {system} {}{runners} --machine-runner {machine}",
            common.words
        )
    }
}
