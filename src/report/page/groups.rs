//! Which distro images and nodes belong to, so that hundreds of them stay readable.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::WantedImage;
use crate::report::node::Node;
use crate::report::summary::RunSummary;

/// What belongs to several distros, or to none.
const SHARED: &str = "shared";

pub(super) struct Groups<'a> {
    /// Distro and flavor of each image.
    images: Vec<(&'a str, &'a str)>,
    nodes: BTreeMap<&'a str, &'a str>,
}

impl<'a> Groups<'a> {
    pub(super) fn of(summary: &'a RunSummary) -> Self {
        let by_id: BTreeMap<&str, &Node> = summary
            .nodes
            .iter()
            .map(|node| (node.info.id.as_str(), node))
            .collect();
        let own = |image: &'a WantedImage| {
            let nodes = image.nodes.iter().rev().filter_map(|id| by_id.get(id.as_str()));
            let mut own = nodes.filter(|node| node.info.subject == image.id);
            // Of an image's own nodes it is `distro/flavor`.
            let alike = own.next().map_or("", |node| node.info.alike.as_str());
            alike.split_once('/').unwrap_or((SHARED, ""))
        };
        let images: Vec<_> = summary.wanted.iter().map(own).collect();
        let mut distros: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (image, (distro, _)) in summary.wanted.iter().zip(&images) {
            for node in &image.nodes {
                distros.entry(node).or_default().insert(distro);
            }
        }
        let only = |distros: BTreeSet<&'a str>| match distros.len() {
            1 => distros.into_iter().next().unwrap_or(SHARED),
            _ => SHARED,
        };
        let nodes = distros
            .into_iter()
            .map(|(node, distros)| (node, only(distros)))
            .collect();
        Self { images, nodes }
    }

    /// Distro and flavor of an image, by its place among those that were wanted.
    pub(super) fn image(&self, place: usize) -> (&'a str, &'a str) {
        self.images.get(place).copied().unwrap_or((SHARED, ""))
    }

    pub(super) fn node(&self, id: &str) -> &'a str {
        self.nodes.get(id).copied().unwrap_or(SHARED)
    }
}

/// Sorts into groups, which come in the order of their first members.
pub(super) fn sorted<'a, T>(items: impl Iterator<Item = (&'a str, T)>) -> Vec<(&'a str, Vec<T>)> {
    let mut groups: Vec<(&str, Vec<T>)> = Vec::new();
    for (name, item) in items {
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, members)) => members.push(item),
            None => groups.push((name, vec![item])),
        }
    }
    groups
}
