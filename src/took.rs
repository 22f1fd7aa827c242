//! How long work took, and what to expect from that. Where nothing is known, nothing is expected. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What an expectation rests on; the better one comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The same was done before.
    Subject,
    /// The same stage for what is alike: an image of the same distro and flavor, another flavor of the same distro.
    Alike,
    /// The same stage for anything.
    Stage,
}

/// How long something may take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Expected {
    pub seconds: f64,
    pub by: By,
}

/// What is done, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    pub stage: &'a str,
    pub subject: &'a str,
    /// What it has in common with those that are like it; empty where there are none.
    pub alike: &'a str,
}

/// All that is known of times.
#[derive(Clone, Debug, Default)]
pub struct Times(BTreeMap<String, BTreeMap<String, Known>>);

/// What is known of one subject.
#[derive(Clone, Debug, Default)]
struct Known {
    alike: String,
    /// The last time.
    took: Option<f64>,
    /// What failed since then had not ended before so many seconds: the whole takes longer.
    at_least: f64,
}

impl Known {
    fn seconds(&self) -> Option<f64> {
        Some(self.took?.max(self.at_least))
    }
}

impl Times {
    /// Takes in how long something took. What failed was not done by then.
    pub fn learn(&mut self, job: Job<'_>, seconds: f64, is_done: bool) {
        let stage = self.0.entry(job.stage.to_owned()).or_default();
        let known = stage.entry(job.subject.to_owned()).or_default();
        job.alike.clone_into(&mut known.alike);
        if is_done {
            (known.took, known.at_least) = (Some(seconds), 0.0);
        } else {
            known.at_least = known.at_least.max(seconds);
        }
    }

    pub fn expected(&self, job: Job<'_>) -> Option<Expected> {
        let stage = self.0.get(job.stage)?;
        let own = stage.get(job.subject);
        if let Some(seconds) = own.and_then(Known::seconds) {
            let by = By::Subject;
            return Some(Expected { seconds, by });
        }
        let middle = |wanted: &dyn Fn(&Known) -> bool| {
            let of_others = stage.values().filter(|known| wanted(known));
            median(of_others.filter_map(Known::seconds).collect())
        };
        let is_alike = |known: &Known| !job.alike.is_empty() && known.alike == job.alike;
        let alike = middle(&is_alike).map(|seconds| (seconds, By::Alike));
        let (seconds, by) = alike.or_else(|| Some((middle(&|_| true)?, By::Stage)))?;
        let at_least = own.map_or(0.0, |own| own.at_least);
        Some(Expected {
            seconds: seconds.max(at_least),
            by,
        })
    }
}

fn median(mut all: Vec<f64>) -> Option<f64> {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<'a>(subject: &'a str, alike: &'a str) -> Job<'a> {
        let stage = "check";
        Job {
            stage,
            subject,
            alike,
        }
    }

    #[test]
    fn an_expectation_falls_back_from_the_subject_to_its_like_to_the_stage_to_nothing() {
        let mut times = Times::default();
        let expected = |times: &Times, subject, alike| {
            let found = times.expected(check(subject, alike))?;
            Some((found.seconds, found.by))
        };
        assert_eq!(expected(&times, "d12-3G-web", "d12/web"), None);
        times.learn(check("d12-3G-web", "d12/web"), 200.0, true);
        times.learn(check("d13-3G-db", "d13/db"), 400.0, true);
        times.learn(check("d13-4G-db", "d13/db"), 440.0, true);
        assert_eq!(
            expected(&times, "d12-3G-web", "d12/web"),
            Some((200.0, By::Subject))
        );
        assert_eq!(
            expected(&times, "d12-9G-web", "d12/web"),
            Some((200.0, By::Alike))
        );
        assert_eq!(
            expected(&times, "d11-9G-web", "d11/web"),
            Some((400.0, By::Stage))
        );
        assert_eq!(expected(&times, "alone", ""), Some((400.0, By::Stage)));
    }

    #[test]
    fn what_failed_teaches_that_it_takes_longer_and_nothing_by_itself() {
        let mut times = Times::default();
        times.learn(check("a", "x"), 300.0, false);
        assert_eq!(times.expected(check("a", "x")), None);
        times.learn(check("b", "x"), 100.0, true);
        let seconds = |times: &Times, subject| times.expected(check(subject, "x")).map(|found| found.seconds);
        assert_eq!(seconds(&times, "a"), Some(300.0));
        assert_eq!(seconds(&times, "b"), Some(100.0));
        times.learn(check("b", "x"), 150.0, false);
        assert_eq!(seconds(&times, "b"), Some(150.0));
        // A failure that came early says nothing.
        times.learn(check("b", "x"), 90.0, true);
        times.learn(check("b", "x"), 1.0, false);
        assert_eq!(seconds(&times, "b"), Some(90.0));
    }
}
