use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use petgraph::graph::NodeIndex;
use serde::Serialize;

use super::{Chain, Reach, cut};
use crate::plan::assess::{Assessment, State};
use crate::plan::graph::{Draft, Nodes, Plan, PlannedImage};
use crate::plan::node::{Cost, Node, Results, Role, Stage, Take};
use crate::took::{By, Expected};

const TAKEN: Role = Role::new("taken");

/// Recorded times of the stages with KVM, in seconds.
const SECONDS: [(&str, f64); 8] = [
    ("fetch", 30.0),
    ("install", 300.0),
    ("provision", 60.0),
    ("size", 3.0),
    ("package", 40.0),
    ("check", 60.0),
    ("sums", 1.0),
    ("upload", 20.0),
];

/// Recorded sizes of what travels, compressed, in bytes.
const BYTES: [(&str, f64); 3] = [
    ("fetch", 0.7 * GIB),
    ("provision", 0.7 * GIB),
    ("package", 0.6 * GIB),
];
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

fn of<T: Copy>(table: &[(&str, T)], stage: &str) -> Option<T> {
    let row = table.iter().find(|(name, _)| *name == stage);
    row.map(|(_, value)| *value)
}

#[derive(Serialize)]
struct Inputs {
    subject: String,
}

/// A fleet of each distro in each flavor and size.
struct Fleet {
    nodes: Nodes<()>,
    images: Vec<PlannedImage>,
}

impl Fleet {
    fn add(&mut self, name: &'static str, subject: &str, takes: Vec<Take>) -> NodeIndex {
        let here = ["sums", "upload"].contains(&name);
        let stage = Stage {
            name,
            results: if here { Results::Outside } else { Results::Stored },
            inputs: &[],
        };
        let machines = u32::from(["install", "provision", "check"].contains(&name));
        let cost = Cost {
            machines,
            memory: 512 * u64::from(1 + machines),
            cpus: 1 + machines,
            scratch: 0,
        };
        let inputs = Inputs {
            subject: subject.to_owned(),
        };
        let (revision, takes) = (1, takes);
        let draft = Draft {
            stage,
            revision,
            subject,
            inputs,
            takes,
            cost,
        };
        self.nodes.add(draft, ())
    }

    fn plan(distros: usize, flavors: usize, sizes: usize) -> Plan<()> {
        let (nodes, images) = (Nodes::default(), Vec::new());
        let mut fleet = Self { nodes, images };
        for distro in (0..distros).map(|n| format!("d{n}")) {
            let fetch = fleet.add("fetch", &distro, vec![]);
            let install = fleet.add("install", &distro, vec![TAKEN.of(fetch)]);
            for flavor in (0..flavors).map(|n| format!("{distro}-f{n}")) {
                let provision = fleet.add("provision", &flavor, vec![TAKEN.of(install)]);
                for id in (0..sizes).map(|n| format!("{flavor}-s{n}")) {
                    let takes = vec![TAKEN.bytes_of(provision), TAKEN.if_there(install)];
                    let size = fleet.add("size", &id, takes);
                    let package = fleet.add("package", &id, vec![TAKEN.bytes_of(size)]);
                    let check = fleet.add("check", &id, vec![TAKEN.bytes_of(package)]);
                    let takes = vec![TAKEN.of(package), TAKEN.of(check)];
                    let delivery = fleet.add("sums", &id, takes);
                    let upload = fleet.add("upload", &id, vec![TAKEN.of(delivery)]);
                    fleet.images.push(PlannedImage {
                        id,
                        distro: distro.clone(),
                        flavor: flavor.clone(),
                        install,
                        provision,
                        disk_bytes: 0,
                        firmware: vec![],
                        path: PathBuf::new(),
                        checksums: vec![],
                        delivery,
                        check: Some(check),
                        unchecked: false,
                        published: vec![upload],
                        signed: vec![],
                    });
                }
            }
        }
        fleet.nodes.into_plan("fleet", String::new(), fleet.images)
    }
}

/// What an installed disk holds lets into the guest: it stays. What is put in a folder is put there by who plans.
fn reach(node: &Node<()>) -> Reach {
    match (node.stage.name, node.stage.results) {
        (_, Results::Outside) => Reach::Here,
        ("install", _) => Reach::Kept,
        _ => Reach::Shared,
    }
}

/// The same where sizes boot to grow, which they do with the key of the very disk that was installed.
fn unsealed(node: &Node<()>) -> Reach {
    match node.stage.name {
        "provision" => Reach::Kept,
        _ => reach(node),
    }
}

fn assessments(plan: &Plan<()>, is_there: &dyn Fn(&str) -> bool) -> BTreeMap<NodeIndex, Assessment> {
    let assessment = |(index, node): (NodeIndex, &Node<()>)| {
        let expected = of(&SECONDS, node.stage.name);
        let state = if is_there(&node.id()) {
            State::Cached
        } else {
            State::Todo
        };
        let assessment = Assessment {
            state,
            rebuild: false,
            remote: false,
            reason: String::new(),
            expected: expected.map(|seconds| Expected {
                seconds,
                by: By::Subject,
            }),
            layer: 0,
            failed: None,
            bytes: None,
        };
        (index, assessment)
    };
    plan.nodes().map(assessment).collect()
}

/// Chains as `nodes < positions of those before`.
fn shown(plan: &Plan<()>, chains: &[Chain]) -> Vec<String> {
    let show = |chain: &Chain| {
        let nodes: Vec<_> = chain.nodes.iter().map(|index| plan.node(*index).id()).collect();
        let after: Vec<_> = chain.after.iter().map(ToString::to_string).collect();
        format!("{} < {}", nodes.join(" "), after.join(" "))
            .trim_end_matches(['<', ' '])
            .to_owned()
    };
    chains.iter().map(show).collect()
}

fn all_of(plan: &Plan<()>, is_there: &dyn Fn(&str) -> bool) -> Vec<String> {
    sorted(plan, &cut(plan, &assessments(plan, is_there), &reach, None))
}

fn sorted(plan: &Plan<()>, chains: &[Chain]) -> Vec<String> {
    let mut all = shown(plan, chains);
    all.sort();
    all
}

fn results(plan: &Plan<()>, chain: &Chain) -> Vec<String> {
    let results = chain.results.iter();
    results.map(|result| plan.node(*result).id()).collect()
}

#[test]
fn an_installation_goes_with_its_flavor_and_each_image_with_all_of_its_own() {
    let plan = Fleet::plan(1, 1, 2);
    let chains = cut(&plan, &assessments(&plan, &|_| false), &reach, None);
    let own = |n| format!("size/d0-f0-s{n} package/d0-f0-s{n} check/d0-f0-s{n} < 0");
    let mut found = shown(&plan, &chains);
    found.sort();
    assert_eq!(found[0], "fetch/d0 install/d0 provision/d0-f0");
    assert_eq!(found[1..], [own(0), own(1)]);
    assert_eq!(
        (chains[0].seconds, chains[0].rank, chains[0].cost.machines),
        (Some(390.0), 390.0 + 103.0, 1)
    );
    assert_eq!(results(&plan, &chains[0]), ["provision/d0-f0"]);
    let image = chains[1].nodes[0];
    let subject = &plan.node(image).subject;
    assert_eq!(
        results(&plan, &chains[1]),
        [format!("package/{subject}"), format!("check/{subject}")]
    );
    // One image of a distro is one job, as nothing of it is anyone else's.
    assert_eq!(all_of(&Fleet::plan(1, 1, 1), &|_| false).len(), 1);
}

#[test]
fn what_takes_a_result_that_stays_runs_in_its_job() {
    let flavors = Fleet::plan(1, 2, 1);
    assert_eq!(
        all_of(&flavors, &|_| false)[0],
        "fetch/d0 install/d0 provision/d0-f0 provision/d0-f1"
    );
    let boots = Fleet::plan(1, 1, 2);
    assert_eq!(
        sorted(
            &boots,
            &cut(&boots, &assessments(&boots, &|_| false), &unsealed, None)
        ),
        [
            "fetch/d0 install/d0 provision/d0-f0 size/d0-f0-s0 size/d0-f0-s1",
            "package/d0-f0-s0 check/d0-f0-s0 < 0",
            "package/d0-f0-s1 check/d0-f0-s1 < 0"
        ]
    );
    // One of them is there already; the installed disk may be here, and is not where the other one will run.
    let is_there = |id: &str| id.ends_with("d0-f0") || id.ends_with("/d0");
    let found = all_of(&flavors, &is_there);
    assert_eq!(
        found,
        [
            "install/d0 provision/d0-f1",
            "size/d0-f0-s0 package/d0-f0-s0 check/d0-f0-s0",
            "size/d0-f1-s0 package/d0-f1-s0 check/d0-f1-s0 < 1"
        ]
    );
    // It is not asked for, so that no one puts it into a store that hosts share.
    let chains = cut(&flavors, &assessments(&flavors, &is_there), &reach, None);
    let ends: Vec<_> = chains.iter().flat_map(|chain| results(&flavors, chain)).collect();
    assert!(
        ends.contains(&"provision/d0-f1".to_owned()) && !ends.contains(&"install/d0".to_owned()),
        "{ends:?}"
    );
    // What no other host makes anything of is made where it is wanted.
    let others = |id: &str| id != "install/d0";
    assert!(all_of(&flavors, &others).is_empty());
}

#[test]
fn workers_that_would_wait_make_what_stays_again() {
    let shown_for = |plan: &Plan<()>, reach: &dyn Fn(&Node<()>) -> Reach, workers: usize| {
        let chains = cut(
            plan,
            &assessments(plan, &|_| false),
            reach,
            NonZeroUsize::new(workers),
        );
        for (at, chain) in chains.iter().enumerate() {
            assert!(
                chain.after.iter().all(|need| *need < at),
                "{:?}",
                shown(plan, &chains)
            );
            assert!(!results(plan, chain).contains(&"install/d0".to_owned()));
        }
        sorted(plan, &chains)
    };
    let image = |flavor: u32, size: u32, after: u32| {
        format!("size/d0-f{flavor}-s{size} package/d0-f{flavor}-s{size} check/d0-f{flavor}-s{size} < {after}")
    };
    let flavors = Fleet::plan(1, 2, 1);
    assert_eq!(
        shown_for(&flavors, &reach, 2),
        [
            "fetch/d0",
            "install/d0 provision/d0-f0 < 0",
            "install/d0 provision/d0-f1 < 0",
            &image(0, 0, 1),
            &image(1, 0, 2)
        ]
    );
    // One worker would only make it twice.
    assert_eq!(shown_for(&flavors, &reach, 1), all_of(&flavors, &|_| false));
    // The longest way is not shorter by it where each has one flavor, or the images have enough to do for all.
    let single = Fleet::plan(2, 1, 3);
    assert_eq!(shown_for(&single, &reach, 16), all_of(&single, &|_| false));
    // Where sizes boot to grow, they go with their flavor.
    let boots = shown_for(&Fleet::plan(1, 2, 2), &unsealed, 8);
    assert_eq!(
        boots[..3],
        [
            "fetch/d0",
            "install/d0 provision/d0-f0 size/d0-f0-s0 size/d0-f0-s1 < 0",
            "install/d0 provision/d0-f1 size/d0-f1-s0 size/d0-f1-s1 < 0"
        ]
    );
    // Nothing is known of how long they take.
    let mut unknown = assessments(&flavors, &|_| false);
    unknown
        .values_mut()
        .for_each(|assessment| assessment.expected = None);
    let chains = cut(&flavors, &unknown, &reach, NonZeroUsize::new(2));
    assert_eq!(sorted(&flavors, &chains), all_of(&flavors, &|_| false));
}

#[test]
fn what_is_there_is_in_no_chain_and_a_name_does_not_depend_on_it() {
    let plan = Fleet::plan(1, 1, 2);
    let before = cut(&plan, &assessments(&plan, &|_| false), &reach, None);
    let is_there = |id: &str| !id.starts_with("check/d0-f0-s1") && !id.starts_with("sums");
    let after = cut(&plan, &assessments(&plan, &is_there), &reach, None);
    assert_eq!(shown(&plan, &after), ["check/d0-f0-s1"]);
    assert!(before.iter().any(|chain| chain.key(&plan) == after[0].key(&plan)));
    assert!(all_of(&plan, &|_| true).is_empty());
}

/// What has to be known of an engine here: a host takes a job some seconds after the last that it depends on.
const LATENCY: f64 = 5.0;

/// Seconds until all images are published: chains on `slots` places for one machine each, those with the largest rank first;
/// results go through one link of the store, whatever takes them, and files come to the submitter by the same link.
fn makespan(plan: &Plan<()>, slots: usize, bits_a_second: f64) -> f64 {
    let slots_known = NonZeroUsize::new(slots);
    let chains = cut(plan, &assessments(plan, &|_| false), &reach, slots_known);
    let stage = |index: NodeIndex| plan.node(index).stage.name;
    let transfer = |index: NodeIndex| of(&BYTES, stage(index)).unwrap_or(0.0) * 8.0 / bits_a_second;
    // Whole milliseconds have an order; the number tells equal moments apart.
    let at = |seconds: f64| (seconds * 1000.0).round() as u64;
    let mut waits: Vec<_> = chains.iter().map(|chain| chain.after.len()).collect();
    let mut events = BinaryHeap::new();
    for (number, _) in waits.iter().enumerate().filter(|(_, waits)| **waits == 0) {
        events.push(Reverse((at(LATENCY), 0, number)));
    }
    let (mut ready, mut free, mut link, mut end) = (Vec::new(), slots, 0.0_f64, 0.0_f64);
    while let Some(Reverse((now, what, number))) = events.pop() {
        let mut moment = now as f64 / 1000.0;
        let chain = &chains[number];
        let mut carry = |moment: &mut f64, index: NodeIndex| {
            link = link.max(*moment) + transfer(index);
            *moment = link;
        };
        match what {
            0 => ready.push(number),
            1 => {
                chain.results.iter().for_each(|index| carry(&mut moment, *index));
                events.push(Reverse((at(moment), 2, number)));
            }
            _ => {
                free += 1;
                for later in (0..chains.len()).filter(|later| chains[*later].after.contains(&number)) {
                    waits[later] -= 1;
                    if waits[later] == 0 {
                        events.push(Reverse((now + at(LATENCY), 0, later)));
                    }
                }
                let packaged = chain.nodes.iter().filter(|index| stage(**index) == "package");
                packaged.for_each(|index| carry(&mut moment, *index));
                end = end.max(moment + 21.0);
            }
        }
        ready.sort_by(|a: &usize, b| chains[*b].rank.total_cmp(&chains[*a].rank).then(a.cmp(b)));
        while free > 0 && !ready.is_empty() {
            free -= 1;
            let next = ready.remove(0);
            let mut moment = now as f64 / 1000.0;
            let takes = chains[next]
                .nodes
                .iter()
                .flat_map(|index| &plan.node(*index).takes);
            for take in takes.filter(|take| !chains[next].nodes.contains(&take.node)) {
                link = link.max(moment) + transfer(take.node);
                moment = link;
            }
            let work = chains[next].seconds.expect("all times are recorded");
            events.push(Reverse((at(moment + work), 1, next)));
        }
    }
    end
}

/// The longest way through a plan and all work for machines, divided among the places: nothing ends before either.
fn limit(plan: &Plan<()>, slots: usize) -> f64 {
    let seconds = |index| of(&SECONDS, plan.node(index).stage.name).unwrap();
    let (mut ends, mut work) = (BTreeMap::new(), 0.0);
    for (index, node) in plan.nodes() {
        let before = plan.needs(index).map(|need| ends[&need]).fold(0.0, f64::max);
        ends.insert(index, before + seconds(index));
        if node.stage.results == Results::Stored {
            work += seconds(index);
        }
    }
    let longest = ends.into_values().fold(0.0, f64::max);
    longest.max(work / slots as f64)
}

#[test]
fn a_fleet_takes_little_longer_than_it_must() {
    const LINK: f64 = 10e9;
    let within = |[distros, flavors, sizes, slots]: [usize; 4], times: f64| {
        let plan = Fleet::plan(distros, flavors, sizes);
        let (limit, took) = (limit(&plan, slots), makespan(&plan, slots, LINK));
        assert!(took < limit * times, "{took:.0} s, and {limit:.0} s are possible");
    };
    within([8, 1, 2, 8], 1.15);
    within([8, 1, 2, 16], 1.15);
    within([100, 1, 2, 32], 1.35);
    // Before an installation and a flavor are made, after 390 s, no worker can begin with the 200 images.
    within([10, 4, 5, 32], 1.45);
}
