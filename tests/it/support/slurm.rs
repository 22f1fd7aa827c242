//! A real Slurm on loopback: a controller and two hosts of it, n1 and n2, with keys, ports and folders of their own. All its
//! daemons are children of the story. Jobs of the partition `urgent` take the places of others, which start again later.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::daemon::free_port;
use super::tool;
use super::vm::wait_until;

/// How long a daemon, or a job, may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

pub struct Lab {
    folder: PathBuf,
    daemons: BTreeMap<&'static str, Child>,
    /// What makes the hosts' names unlike those of other labs: control groups are named by them.
    suffix: String,
}

/// Where the kernel has control groups of memory, if this process may make some.
const GROUPS: &str = "/sys/fs/cgroup/memory";

/// Whether jobs can be kept from taking more memory than they asked for by control groups. Where not, Slurm itself looks
/// how much they take, and kills them without saying why.
pub fn has_groups() -> bool {
    let probe = Path::new(GROUPS).join(format!("lab-{}", std::process::id()));
    Path::new("/sys/fs/cgroup/freezer").exists()
        && fs::create_dir(&probe).is_ok()
        && fs::remove_dir(&probe).is_ok()
}

impl Lab {
    /// Starts one with further lines of `slurm.conf`.
    pub fn start(folder: &Path, further: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        for part in ["spool", "state", "log"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        // munge wants to know who could have written its files.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let key = folder.join("munge.key");
        fs::write(&key, [7; 64]).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        let (host, user) = (tool("hostname", &["-s"], folder), tool("id", &["-un"], folder));
        let (host, user) = (host.trim(), user.trim());
        let main = free_port();
        let suffix = format!("-{main}");
        let nodes = ["n1", "n2"].map(|node| {
            let port = free_port();
            format!(
                "NodeName={node}{suffix} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=6 RealMemory=8000 \
                 State=UNKNOWN\n"
            )
        });
        let memory = if has_groups() {
            fs::write(
                folder.join("cgroup.conf"),
                "CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\n",
            )
            .unwrap();
            "TaskPlugin=task/cgroup\nJobAcctGatherType=jobacct_gather/none"
        } else {
            "TaskPlugin=task/none\nJobAcctGatherType=jobacct_gather/linux\nJobAcctGatherFrequency=task=1\n\
             JobAcctGatherParams=OverMemoryKill"
        };
        let conf = format!(
            "ClusterName=lab\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={}\nSlurmUser={user}\nSlurmdUser={user}\n\
             AuthType=auth/munge\nAuthInfo=socket={},cred_expire=8\nCommunicationParameters=NoInAddrAny,NoCtldInAddrAny\n\
             StateSaveLocation={}\nSlurmdSpoolDir={}/%n\nSlurmctldPidFile={}\nSlurmdPidFile={}\n\
             MessageTimeout=4\nSlurmdTimeout=10\nKillWait=5\nReturnToService=2\nSchedulerParameters=sched_interval=2,batch_sched_delay=1\n\
             ProctrackType=proctrack/linuxproc\n{memory}\nSlurmdParameters=config_overrides\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core_Memory\n\
             PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n{further}\n{}\
             PartitionName=all Nodes=n1{suffix},n2{suffix} Default=YES PriorityTier=1 PreemptMode=REQUEUE State=UP\n\
             PartitionName=urgent Nodes=n1{suffix},n2{suffix} PriorityTier=9 PreemptMode=OFF State=UP\n",
            main,
            at("munge.socket"),
            at("state"),
            at("spool"),
            at("ctld.pid"),
            at("%n.pid"),
            nodes.concat(),
        );
        fs::write(folder.join("slurm.conf"), conf).unwrap();
        let mut lab = Self {
            folder: folder.to_owned(),
            daemons: BTreeMap::new(),
            suffix,
        };
        let munged = [
            format!("--key-file={}", key.display()),
            format!("--socket={}", at("munge.socket")),
            format!("--pid-file={}", at("munge.pid")),
            format!("--log-file={}", at("log/munged.log")),
            format!("--seed-file={}", at("munge.seed")),
        ];
        let mut arguments = vec!["--foreground", "--force"];
        arguments.extend(munged.iter().map(String::as_str));
        lab.daemon("munged", "munged", &arguments);
        wait_until("munged to listen", SOON, || folder.join("munge.socket").exists());
        lab.controller();
        for node in ["n1", "n2"] {
            lab.host(node);
        }
        wait_until("both hosts of Slurm to be idle", SOON, || {
            let seen = lab.ask(
                "sinfo",
                &["--noheader", "--partition=all", "--Node", "--format=%t"],
            );
            seen.lines().filter(|state| *state == "idle").count() == 2
        });
        lab
    }

    /// Starts the controller.
    pub fn controller(&mut self) {
        self.daemon("slurmctld", "slurmctld", &["-D"]);
    }

    /// Starts a host's daemon.
    pub fn host(&mut self, node: &'static str) {
        let name = format!("{node}{}", self.suffix);
        self.daemon(node, "slurmd", &["-D", "-N", &name]);
    }

    /// Has hosts take jobs again, as an operator does: Slurm gives them none after a launch that went wrong.
    pub fn resume(&self) {
        let nodes = ["n1", "n2"]
            .map(|node| format!("{node}{}", self.suffix))
            .join(",");
        let node = format!("NodeName={nodes}");
        self.ask("scontrol", &["update", &node, "State=RESUME"]);
    }

    fn daemon(&mut self, name: &'static str, program: &str, arguments: &[&str]) {
        let log = fs::File::create(self.folder.join(format!("log/{name}.out"))).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .env("SLURM_CONF", self.conf())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{program}: {e}; `make setup` installs what the tests need"));
        self.daemons.insert(name, child);
    }

    /// The value of SLURM_CONF for those who use it.
    pub fn conf(&self) -> PathBuf {
        self.folder.join("slurm.conf")
    }

    /// Sends a signal to a daemon: `slurmctld`, `n1`, `n2`.
    pub fn signal(&mut self, daemon: &str, signal: Signal) {
        let child = self.daemons.get_mut(daemon).unwrap();
        let id = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
        if signal == Signal::KILL {
            child.wait().unwrap();
        }
    }

    /// One of Slurm's own programs; what it printed, whatever it ended with.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .env("SLURM_CONF", self.conf())
            .output();
        let output = output.unwrap_or_else(|e| panic!("{program}: {e}"));
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// All jobs that it knows, as `name state`.
    pub fn jobs(&self) -> Vec<(String, String)> {
        let seen = self.ask(
            "squeue",
            &["--noheader", "--states=all", "--sort=i", "--format=%j %T"],
        );
        let pairs = seen.lines().filter_map(|line| line.split_once(' '));
        pairs
            .map(|(name, state)| (name.to_owned(), state.to_owned()))
            .collect()
    }

    /// Waits until its jobs are so.
    pub fn waiting_for(&self, what: &str, mut is_so: impl FnMut(&[(String, String)]) -> bool) {
        wait_until(what, SOON, || is_so(&self.jobs()));
    }
}

impl Drop for Lab {
    #[expect(clippy::print_stderr, reason = "of a story that failed")]
    fn drop(&mut self) {
        // What Slurm did explains what a story saw.
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.join("log/slurmctld.out")).unwrap_or_default();
            let since = log.lines().skip_while(|line| !line.contains("JobId="));
            eprintln!("slurmctld:\n{}", since.collect::<Vec<_>>().join("\n"));
        }
        if self.daemons.contains_key("slurmctld") {
            let _ = self.signal_all(Signal::CONT);
            let user = tool("id", &["-un"], &self.folder);
            self.ask("scancel", &["--user", user.trim()]);
            self.ask("scancel", &["--user", user.trim(), "--signal=KILL", "--full"]);
        }
        for child in self.daemons.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let groups = format!(
            "find /sys/fs/cgroup -depth -type d -path '*/slurm_n[12]{}*' -exec rmdir {{}} +",
            self.suffix
        );
        let _ = Command::new("sh")
            .args(["-c", &groups])
            .stderr(Stdio::null())
            .status();
    }
}

impl Lab {
    fn signal_all(&self, signal: Signal) -> rustix::io::Result<()> {
        for child in self.daemons.values() {
            let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            id.map_or(Ok(()), |id| kill_process(id, signal))?;
        }
        Ok(())
    }
}
