//! The lock in a run: it has everything before anything is planned on it, and moves only where something must be built that is
//! no longer available as it has it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{Keeper, LockError, Moved, What};
use crate::emit::Emitter;
use crate::lock::path_of;
use crate::plan::assess::State;
use crate::run::error::RunError;
use crate::run::prepare::Prepared;
use crate::stage::install;
use crate::store::StoreError;

/// After so long it is worth saying what is waited for.
const LONG: Duration = Duration::from_secs(2);

/// How the lock was kept for a run.
#[derive(Debug, Default)]
pub struct Kept {
    /// The plan on a lock that has changed; none: the plan stands.
    pub again: Option<Prepared>,
    /// What of the lock had to move, in words.
    pub moved: Vec<String>,
}

impl Keeper<'_> {
    /// Keeps the lock for a run. `prepare` plans again where it has moved.
    ///
    /// # Errors
    /// [`RunError::Lock`], those of `prepare`; [`StoreError::Cancelled`] when asked to stop.
    pub fn keep<E: From<RunError>>(
        &self,
        prepared: &Prepared,
        emit: &Emitter,
        prepare: &dyn Fn() -> Result<Prepared, E>,
    ) -> Result<Kept, E> {
        let has_said = AtomicBool::new(false);
        let renew = |what| self.patiently(what, emit, &has_said).map_err(stopped);
        let settled = renew(What::Missing)?;
        if let Some(why) = &settled.unwritten {
            emit.warn(why.clone());
        }
        let file = path_of(&self.manifest.path);
        let count = settled.changes.len();
        let entries = if count == 1 { "entry" } else { "entries" };
        let mut again = None;
        if count > 0 {
            emit.phase(format!(
                "{}: {count} new {entries}; keep the file in version control",
                file.display()
            ));
            again = Some(prepare()?);
        }
        let plan = again.as_ref().unwrap_or(prepared);
        let installs = plan.todo().filter(|(_, node)| node.stage == install::STAGE);
        let mut stale: BTreeSet<_> = installs.map(|(_, node)| node.subject.clone()).collect();
        // What is to be built from a server that does not answer reports that itself.
        let mut unlocked = settled
            .unreached
            .iter()
            .filter(|one| stale.is_disjoint(&one.distros));
        if let Some(first) = unlocked.next() {
            let more = match unlocked.count() {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            emit.warn(format!("{first}; its state is not locked{more}"));
        }
        // Those were looked at just now.
        let is_known = |distro: &String| settled.changes.iter().any(|change| change.distro == *distro);
        stale.retain(|distro| !is_known(distro));
        let images = plan.plan.images.iter();
        let provisioned = images.filter(|image| plan.assessments[&image.provision].state == State::Todo);
        let mut steps: BTreeSet<_> = provisioned.map(|image| image.distro.clone()).collect();
        steps.retain(|distro| !is_known(distro));
        // What cannot be reached is reported by what is to be built from it.
        let moved = renew(What::Reachable {
            installs: &stale,
            steps: &steps,
        })?;
        for kept in &moved.past.kept {
            emit.phase(format!("{}: holds by snapshots: {kept}", file.display()));
        }
        for lacking in &moved.past.lacking {
            emit.warn(lacking.clone());
        }
        let mut kept = Kept {
            again,
            ..Kept::default()
        };
        for change in &moved.changes {
            let text = format!(
                "{}: moved, as the servers no longer have what it had: {change}",
                file.display()
            );
            emit.warn(text.clone());
            kept.moved.push(text);
        }
        if !kept.moved.is_empty() {
            kept.again = Some(prepare()?);
        }
        Ok(kept)
    }

    /// Says once what takes long.
    fn patiently(&self, what: What<'_>, emit: &Emitter, has_said: &AtomicBool) -> Result<Moved, LockError> {
        let (done, waits) = mpsc::channel::<()>();
        let emit = emit.clone();
        thread::scope(|scope| {
            scope.spawn(move || {
                let is_long = waits.recv_timeout(LONG) == Err(mpsc::RecvTimeoutError::Timeout);
                if is_long && !has_said.swap(true, Ordering::Relaxed) {
                    emit.phase("waiting for archives and publishers");
                }
            });
            let moved = self.renew(what);
            drop(done);
            moved
        })
    }
}

fn stopped(error: LockError) -> RunError {
    match error {
        LockError::Cancelled => StoreError::Cancelled.into(),
        error => error.into(),
    }
}
