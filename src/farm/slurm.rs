//! Slurm, by its own programs: `sbatch`, `squeue`, `scancel`. What they are asked for has no need of its accounting.

use std::time::Duration;

use super::engine::{End, Engine, EngineError, Job, Phase, Seen, Stop, Ticket};
use crate::host::cancel::Cancel;
use crate::host::process::{Cmd, Output, shell_quote};
use crate::size::MIB;

/// What this host needs of it.
pub const PROGRAMS: [&str; 3] = ["sbatch", "squeue", "scancel"];
/// How long one of the programs may take: with a controller that does not answer, they give up after 10 s themselves.
const LIMIT: Duration = Duration::from_secs(60);
/// Reasons for which Slurm itself holds a job that it could not start (`slurm_protocol_defs.c`). What a person holds is waited
/// for.
const STUCK: [&str; 2] = ["launch failed requeued held", "JobHoldMaxRequeue"];
/// Reads like `12|pl-3f…|RUNNING|None|n1`.
const COLUMNS: &str = "--format=%i|%j|%T|%r|%N";

/// A Slurm, as this host's own configuration finds it.
#[derive(Clone, Debug, Default)]
pub struct Slurm {
    pub partition: Option<String>,
    pub account: Option<String>,
    /// Further arguments of `sbatch`, each a whole one.
    pub extra: Vec<String>,
}

impl Engine for Slurm {
    fn submit(&self, job: &Job) -> Result<Ticket, EngineError> {
        let said = ask(&Cmd::new("sbatch").args(self.arguments(job)).stdin(script(job)))?;
        // `12`, or `12;cluster`.
        let first = said.trim().split(';').next().unwrap_or_default();
        match first.parse::<u64>() {
            Ok(id) => Ok(Ticket(id.to_string())),
            Err(_) => Err(EngineError::Away {
                program: "sbatch".to_owned(),
                cause: format!("no number of a job in `{}`", said.trim()),
            }),
        }
    }

    fn list(&self, names: &[&str]) -> Result<Vec<Seen>, EngineError> {
        let names = format!("--name={}", names.join(","));
        // Without `--states=all`, what ended is not listed, and neither user nor partition may hide what lives.
        let said = ask(&Cmd::new("squeue").args(["--noheader", "--states=all", &names, COLUMNS]))?;
        Ok(said.lines().filter_map(seen).collect())
    }

    fn end(&self, jobs: &[Ticket], how: Stop) -> Result<(), EngineError> {
        let ids: Vec<_> = jobs.iter().map(|Ticket(id)| id.as_str()).collect();
        let scancel = |words: &[&str]| match ask(&Cmd::new("scancel").args(words).args(&ids)) {
            // What it no longer knows has ended; the others were heeded.
            Ok(_) | Err(EngineError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        };
        // Slurm refuses signals to a job that it is cancelling: one that may have to be killed is never cancelled before. And
        // KILL to all of a job is cancelling it: only the process that it started is killed at once, and takes the rest with it.
        let signal = match how {
            _ if ids.is_empty() => return Ok(()),
            Stop::Cancel => return scancel(&[]),
            Stop::Ask => ["--full", "--signal=TERM"],
            Stop::Kill => ["--batch", "--signal=KILL"],
        };
        scancel(&["--state=PENDING"])?;
        scancel(&[&["--state=RUNNING"][..], &signal].concat())
    }
}

impl Slurm {
    fn arguments(&self, job: &Job) -> Vec<String> {
        let after = job.after.iter().map(|Ticket(id)| format!(":{id}"));
        let after = after.collect::<String>();
        let after = if after.is_empty() {
            String::new()
        } else {
            format!("afterok{after},")
        };
        let mut arguments = vec![
            "--parsable".to_owned(),
            format!("--job-name={}", job.name),
            // The queue is the lock: jobs of one name run one after the other.
            format!("--dependency={after}singleton"),
            "--kill-on-invalid-dep=yes".to_owned(),
            format!("--mem={}M", job.memory.div_ceil(MIB).max(1)),
            format!("--cpus-per-task={}", job.cpus.max(1)),
            format!("--nice={}", job.turn),
            "--requeue".to_owned(),
            // A second start would truncate what the first one printed.
            "--open-mode=append".to_owned(),
            // What it submits from is kept on disk by the controller, and may hold secrets.
            "--export=NONE".to_owned(),
            // What counts goes into the remote store; a folder that a host lacks would keep the job from starting.
            "--output=/dev/null".to_owned(),
            "--chdir=/".to_owned(),
        ];
        if let Some(time) = job.time {
            // Slurm asks it to stop at the end of its time. A signal before that would end it as one that failed.
            arguments.push(format!("--time={}", time.as_secs().div_ceil(60).max(1)));
        }
        let named = [("partition", &self.partition), ("account", &self.account)];
        let named = named
            .into_iter()
            .filter_map(|(name, value)| Some(format!("--{name}={}", value.as_ref()?)));
        arguments.extend(named.chain(self.extra.iter().cloned()));
        arguments
    }
}

/// The job that this process runs in: its number, how often it was started before, the host's name among the others.
pub fn own_job(env: &dyn Fn(&str) -> Option<String>) -> Option<(Ticket, u32, String)> {
    let ticket = Ticket(env("SLURM_JOB_ID")?);
    let starts = env("SLURM_RESTART_COUNT").and_then(|count| count.parse().ok());
    let host = env("SLURMD_NODENAME").unwrap_or_else(|| "another host".to_owned());
    Some((ticket, starts.unwrap_or(0), host))
}

/// The engine's own process becomes the parent of the program, which ends with it.
fn script(job: &Job) -> String {
    let words: Vec<_> = job.words.iter().map(|word| shell_quote(word)).collect();
    format!("#!/bin/sh\nexec {}\n", words.join(" "))
}

/// What a program printed. It goes to its end, whoever wants to stop: half a submission is a job that no one follows.
fn ask(program: &Cmd) -> Result<String, EngineError> {
    let mut said = String::new();
    program.run(&Cancel::default(), Some(LIMIT), &mut |output, line| {
        if output == Output::Stdout {
            said.push_str(line);
            said.push('\n');
        }
    })?;
    Ok(said)
}

/// A line of `squeue`.
fn seen(line: &str) -> Option<Seen> {
    let mut fields = line.trim().splitn(5, '|');
    let mut next = || fields.next().map(str::trim);
    let (ticket, name, state, reason, host) = (next()?, next()?, next()?, next()?, next()?);
    let phase = match state {
        "COMPLETED" => Phase::Ended(End::Well),
        "FAILED" => Phase::Ended(End::Failed),
        "TIMEOUT" | "DEADLINE" => Phase::Ended(End::Time),
        "OUT_OF_MEMORY" => Phase::Ended(End::Memory),
        "NODE_FAIL" | "BOOT_FAIL" | "PREEMPTED" => Phase::Ended(End::Host),
        "CANCELLED" if reason.starts_with("Dependency") => Phase::Ended(End::Unmet),
        "CANCELLED" | "REVOKED" => Phase::Ended(End::Cancelled),
        "RUNNING" | "SUSPENDED" | "STOPPED" | "SIGNALING" => Phase::Running,
        "COMPLETING" => Phase::Ending,
        _ if STUCK.iter().any(|words| reason.starts_with(words)) => Phase::Stuck,
        // What is not known is not over.
        _ => Phase::Waiting,
    };
    let words = match reason {
        "" | "None" => state.to_owned(),
        reason => format!("{state}, {reason}"),
    };
    Some(Seen {
        ticket: Ticket(ticket.to_owned()),
        name: name.to_owned(),
        phase,
        host: Some(host.to_owned()).filter(|host| !host.is_empty()),
        words,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_asked_for_with_all_that_keeps_it_from_harm() {
        let slurm = Slurm {
            partition: Some("build".to_owned()),
            account: None,
            extra: vec!["--constraint=kvm&big".to_owned()],
        };
        let job = Job {
            name: "pl-0123456789abcdef".to_owned(),
            after: vec![Ticket("7".to_owned()), Ticket("9".to_owned())],
            memory: 1536 * MIB + 1,
            cpus: 2,
            time: Some(Duration::from_secs(3601)),
            turn: 17,
            words: ["/opt/it's/pipeline", "node", "a b"].map(str::to_owned).to_vec(),
        };
        assert_eq!(
            slurm.arguments(&job).join(" "),
            "--parsable --job-name=pl-0123456789abcdef --dependency=afterok:7:9,singleton --kill-on-invalid-dep=yes \
             --mem=1537M --cpus-per-task=2 --nice=17 --requeue --open-mode=append --export=NONE \
             --output=/dev/null --chdir=/ --time=61 --partition=build --constraint=kvm&big"
        );
        assert_eq!(
            script(&job),
            "#!/bin/sh\nexec '/opt/it'\\''s/pipeline' node 'a b'\n"
        );
    }

    #[test]
    fn states_have_their_meaning_and_an_unknown_one_is_no_end() {
        let phase = |line: &str| seen(line).map(|seen| (seen.phase, seen.words));
        let ended = |end| Phase::Ended(end);
        for (line, expected, words) in [
            ("4|pl-a|PENDING|Resources|", Phase::Waiting, "PENDING, Resources"),
            ("4|pl-a|RUNNING|None|n1", Phase::Running, "RUNNING"),
            (
                "4|pl-a|COMPLETING|NodeDown|n1",
                Phase::Ending,
                "COMPLETING, NodeDown",
            ),
            ("4|pl-a|REQUEUE_HOLD|x|", Phase::Waiting, "REQUEUE_HOLD, x"),
            (
                "4|pl-a|PENDING|JobHeldUser|",
                Phase::Waiting,
                "PENDING, JobHeldUser",
            ),
            (
                "4|pl-a|PENDING|launch failed requeued held|",
                Phase::Stuck,
                "PENDING, launch failed requeued held",
            ),
            (
                "4|pl-a|OF_A_LATER_VERSION|x|",
                Phase::Waiting,
                "OF_A_LATER_VERSION, x",
            ),
            ("4|pl-a|COMPLETED|None|n1", ended(End::Well), "COMPLETED"),
            (
                "4|pl-a|FAILED|NonZeroExitCode|n1",
                ended(End::Failed),
                "FAILED, NonZeroExitCode",
            ),
            (
                "4|pl-a|TIMEOUT|TimeLimit|n1",
                ended(End::Time),
                "TIMEOUT, TimeLimit",
            ),
            (
                "4|pl-a|OUT_OF_MEMORY|OutOfMemory|n1",
                ended(End::Memory),
                "OUT_OF_MEMORY, OutOfMemory",
            ),
            (
                "4|pl-a|NODE_FAIL|NodeDown|n1",
                ended(End::Host),
                "NODE_FAIL, NodeDown",
            ),
            (
                "4|pl-a|CANCELLED|DependencyNeverSatisfied|",
                ended(End::Unmet),
                "CANCELLED, DependencyNeverSatisfied",
            ),
            ("4|pl-a|CANCELLED|None|n1", ended(End::Cancelled), "CANCELLED"),
        ] {
            assert_eq!(phase(line), Some((expected, words.to_owned())), "{line}");
        }
        assert_eq!(
            seen("4|pl-a|RUNNING|None|n1").unwrap().host.as_deref(),
            Some("n1")
        );
        assert_eq!(phase("slurm_load_jobs error: something"), None);
    }
}
