//! `pipeline releases`: the newest medium of a release today, by the recipes that manifests use. Changes nothing.

use std::path::PathBuf;

use super::exit::Exit;
use super::report_error::{fail, out};
use super::table::{Table, stdout_style, stdout_width};
use crate::families::Tables;
use crate::host::cancel::Cancel;
use crate::host::http::{Client, redact};
use crate::platform::Arch;
use crate::releases::{Kind, Place};
use crate::report::style::Role;
use crate::size::ByteSize;
use crate::stage::fetch::{Finder, Latest, Trust, Unremembered};

/// Arguments of `pipeline releases`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline releases\n  pipeline releases debian-13\n  \
    pipeline releases ubuntu-24.04 --kind disk --arch arm64\n  \
    pipeline releases almalinux-10 --variant boot --from https://mirror.example --format json\n\n\
    Without a release, lists the recipes. A list that its publisher signs is verified with the keyring of the publisher, where \
    this host has it (packages debian-keyring, ubuntu-keyring, distribution-gpg-keys) or `--keyring` names one; what was not \
    verified is called so."
)]
pub struct Args {
    /// Releases, as NAME-VERSION
    releases: Vec<String>,
    /// What of it
    #[arg(long, value_enum, default_value_t = KindArg::Iso)]
    kind: KindArg,
    /// For which architecture
    #[arg(long, value_enum, default_value_t = ArchArg::Amd64)]
    arch: ArchArg,
    /// Which of the media of a release [default: the recipe's]
    #[arg(long)]
    variant: Option<String>,
    /// Base URL of a mirror that has the paths of the publisher's hosts
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Public keys of the publisher, instead of those that this host has
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Kinds of medium, as arguments.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KindArg {
    /// The installer, as a CD or DVD image
    Iso,
    /// A disk image that is installed already
    Disk,
}

/// Architectures, as arguments.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ArchArg {
    Amd64,
    Arm64,
}

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    if args.releases.is_empty() {
        out(&recipes());
        return Ok(Exit::Ok);
    }
    let mut found = Vec::new();
    for release in &args.releases {
        let latest = find(args, release)?;
        if args.format == Format::Text {
            out(&shown(release, &latest));
        }
        found.push(serde_json::json!({"release": release, "latest": latest}));
    }
    if args.format == Format::Json {
        let all = serde_json::json!({"version": 1, "releases": found});
        out(&format!("{all:#}\n"));
    }
    Ok(Exit::Ok)
}

fn find(args: &Args, release: &str) -> Result<Latest, Exit> {
    let kind = match args.kind {
        KindArg::Iso => Kind::Iso,
        KindArg::Disk => Kind::Disk,
    };
    let arch = match args.arch {
        ArchArg::Amd64 => Arch::Amd64,
        ArchArg::Arm64 => Arch::Arm64,
    };
    let usage = |error| fail(Exit::Usage, miette::miette!("{error}"));
    let (recipe, version) = Tables::built_in().release(release).map_err(usage)?;
    let query = recipe.query(version, kind, arch, args.variant.as_deref(), args.from.as_deref());
    let query = query.map_err(usage)?;
    if args.keyring.is_some() && !query.is_signed() {
        let error = miette::miette!(
            help = "leave `--keyring` out",
            "the publisher of {release} does not sign its list"
        );
        return Err(fail(Exit::Usage, error));
    }
    let keyring = args.keyring.as_ref().map(std::path::absolute).transpose();
    let keyring = keyring.map_err(|error| fail(Exit::Usage, miette::miette!("--keyring: {error}")))?;
    let finder = Finder {
        client: &Client::default(),
        lists: &Unremembered,
        keyring: keyring.as_deref(),
        cancel: &Cancel::default(),
    };
    let found = finder.find(release, &query, None);
    found.map_err(|error| fail(Exit::Failed, miette::miette!("{error}")))
}

fn shown(release: &str, latest: &Latest) -> String {
    let medium = &latest.medium;
    let mut text = format!("{release}: {}\n", medium.version);
    let mut line = |what: &str, value: String| text += &format!("  {what:<10} {value}\n");
    let names = ["url", "archive"];
    for (name, url) in names.into_iter().zip(&medium.urls) {
        line(name, redact(url));
    }
    if let Some(size) = medium.size {
        line("size", ByteSize(size).to_string());
    }
    for digest in &medium.digests {
        line(digest.algorithm.name(), digest.hex.clone());
    }
    match &latest.trust {
        Trust::Signed(signer) => {
            let at = signer.at.map(|at| format!(", {}", at.strftime("%F")));
            line("signed by", signer.key.clone() + &at.unwrap_or_default());
        }
        Trust::Unverified(why) => line("unverified", why.clone()),
    }
    text
}

fn recipes() -> String {
    let mut table = Table::new(&["recipe", "finds", "variants by default", "lists are"], 4);
    for recipe in Tables::built_in().recipes() {
        for kind in Kind::ALL {
            let places = recipe.places(kind);
            let all = |text: fn(&Place) -> &str| {
                let mut texts: Vec<_> = places.iter().map(text).collect();
                texts.dedup();
                texts.join(", ")
            };
            let signed = |place: &Place| match place.signature.as_str() {
                "" => "not signed",
                _ => "signed",
            };
            table.row(vec![
                (Role::Strong, format!("{}-VERSION", recipe.name)),
                (Role::Plain, kind.name().to_owned()),
                (Role::Plain, all(|place| &place.variant)),
                (Role::Dim, all(signed)),
            ]);
        }
    }
    format!("{}\n", table.render(stdout_style(), stdout_width()))
}
