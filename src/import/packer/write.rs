//! The manifest's text: tables in the order that people read them in, comments where something was decided, and all
//! notes at its end.

use toml_edit::{Array, ArrayOfTables, DocumentMut, Formatted, InlineTable, Item, Key, Table, Value};

use super::build::Importer;
use super::fold::has_agent;
use super::model::{Config, Distro, Fleet, Publish, Step};
use crate::import::note::{Weight, printable, wrapped};
use crate::import::path;

/// Width of comments.
const WIDTH: usize = 110;

pub fn manifest(fleet: &Fleet, publish: &Publish, importer: &Importer<'_>) -> String {
    let text = "Packer took an image as its last step left it; here each is booted before it appears, and must pass the checks \
                of its flavor: `checks = []` leaves them out";
    importer.note(Weight::Decided, None, "checks", text);
    let mut document = DocumentMut::new();
    let root = document.as_table_mut();
    root.insert("pipeline", Item::Table(head(importer)));
    if !fleet.vars.is_empty() {
        root.insert("vars", Item::Table(vars(fleet)));
    }
    let mut distros = Table::new();
    distros.set_implicit(true);
    for distro in &fleet.distros {
        distros.insert(&distro.name, Item::Table(distro_table(distro)));
    }
    root.insert("distros", Item::Table(distros));
    let mut flavors = Table::new();
    flavors.set_implicit(true);
    for (name, steps) in &fleet.flavors {
        flavors.insert(name, Item::Table(flavor(steps)));
    }
    root.insert("flavors", Item::Table(flavors));
    root.insert("images", Item::ArrayOfTables(images(fleet)));
    root.insert("publish", Item::Table(publish_table(publish)));
    let mut text = document.to_string();
    let notes = importer.notes.borrow().show();
    if !notes.is_empty() {
        text.push_str("\n# ---- What `pipeline import packer` has to tell ----\n#\n");
        for line in notes.trim_end().lines() {
            text.push_str(format!("# {line}").trim_end());
            text.push('\n');
        }
    }
    text
}

/// Text as comments in front of something.
fn comments(lines: &[String], blank: bool) -> String {
    let start = if blank { "\n" } else { "" };
    let lines = lines.iter().flat_map(|line| wrapped(&printable(line), WIDTH));
    let text: String = lines.map(|line| format!("# {line}\n")).collect();
    format!("{start}{text}")
}

fn titled(table: &mut Table, lines: &[String]) {
    table.decor_mut().set_prefix(comments(lines, true));
}

fn head(importer: &Importer<'_>) -> Table {
    let mut table = Table::new();
    let request = importer.request;
    let shown = |input: &Config| match input {
        Config::Json(input) => input.shown.clone(),
        Config::Hcl { shown, folder, .. } if shown == "." => path::name(folder).to_owned(),
        Config::Hcl { shown, .. } => shown.clone(),
    };
    let mut sources: Vec<_> = request.configs.iter().map(shown).collect();
    let more = sources.len().saturating_sub(4);
    sources.truncate(4);
    let mut from = sources.join(", ");
    if more > 0 {
        from.push_str(&format!(" and {more} more"));
    }
    if let Some(playbook) = &request.playbook {
        from.push_str(&format!(", with the playbook {}", playbook.shown));
    }
    let manifest = path::name(&request.manifest);
    let lines = [
        format!("Imported from {from}."),
        format!("  pipeline validate {manifest}    everything it names is there"),
        format!("  pipeline plan {manifest}        what would be done"),
        "What was decided, and what has no place in a manifest, is listed at the end.".to_owned(),
    ];
    let text: String = lines
        .iter()
        .map(|line| format!("# {}\n", printable(line)))
        .collect();
    table.decor_mut().set_prefix(format!("{text}\n"));
    table.insert(
        "name",
        toml_edit::value(path::plain_name(path::stem(&request.manifest))),
    );
    table.insert("output", toml_edit::value("out"));
    table
}

fn vars(fleet: &Fleet) -> Table {
    let mut table = Table::new();
    titled(
        &mut table,
        &[
            "Variables of the templates; where no template of this manifest uses one, it only tells."
                .to_owned(),
        ],
    );
    for var in &fleet.vars {
        let mut key = Key::new(var.name.as_str());
        if let Some(description) = &var.description {
            key.leaf_decor_mut()
                .set_prefix(comments(std::slice::from_ref(description), false));
        }
        table.insert_formatted(&key, toml_edit::value(var.value.as_str()));
    }
    table
}

fn distro_table(distro: &Distro) -> Table {
    let mut table = Table::new();
    titled(&mut table, &distro.comments);
    table.insert("family", toml_edit::value(distro.system.family));
    table.insert("version", toml_edit::value(distro.system.version.as_str()));
    for (key, value) in &distro.keys {
        table.insert(key, Item::Value(value.clone()));
    }
    let mut medium = Table::new();
    medium.decor_mut().set_prefix("\n");
    for (name, value, comment) in &distro.source {
        let mut key = Key::new(*name);
        if let Some(comment) = comment {
            key.leaf_decor_mut()
                .set_prefix(comments(std::slice::from_ref(comment), false));
        }
        let mut value = value.clone();
        if let Value::Array(list) = &mut value {
            spread(list);
        }
        medium.insert_formatted(&key, Item::Value(value));
    }
    let mut source = Table::new();
    source.set_implicit(true);
    source.insert(distro.kind, Item::Table(medium));
    table.insert("source", Item::Table(source));
    if !distro.vars.is_empty() {
        let mut vars = Table::new();
        vars.decor_mut().set_prefix("\n");
        for (name, value) in &distro.vars {
            vars.insert(name, Item::Value(value.clone()));
        }
        table.insert("vars", Item::Table(vars));
    }
    table
}

/// One item a line.
fn spread(list: &mut Array) {
    if list.len() < 2 {
        return;
    }
    for value in list.iter_mut() {
        value.decor_mut().set_prefix("\n  ");
        value.decor_mut().set_suffix("");
    }
    list.set_trailing("\n");
    list.set_trailing_comma(true);
}

fn flavor(steps: &[Step]) -> Table {
    let mut table = Table::new();
    titled(&mut table, &[]);
    let sets = ["standard"]
        .into_iter()
        .chain(has_agent(steps).then_some("vm-bootstrap"));
    table.insert("checks", toml_edit::value(sets.collect::<Array>()));
    let mut list = Array::new();
    for step in steps {
        let mut inline = InlineTable::new();
        for (key, value) in &step.keys {
            inline.insert(*key, readable(value));
        }
        let mut value = Value::InlineTable(inline);
        let comment = step
            .comment
            .as_ref()
            .map(|comment| comments(std::slice::from_ref(comment), false));
        let comment: String = comment
            .iter()
            .flat_map(|text| text.lines())
            .map(|line| format!("\n  {line}"))
            .collect();
        value.decor_mut().set_prefix(format!("{comment}\n  "));
        list.push_formatted(value);
    }
    if !list.is_empty() {
        list.set_trailing("\n");
        list.set_trailing_comma(true);
    }
    table.insert("steps", Item::Value(Value::Array(list)));
    table
}

/// Texts of several lines as such.
fn readable(value: &Value) -> Value {
    let Some(text) = value.as_str().filter(|text| text.contains('\n')) else {
        return value.clone();
    };
    let odd = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains("'''") || text.contains(odd) || text.ends_with('\'') {
        return value.clone();
    }
    // Literal, so that a script looks as it is.
    let written = format!("'''\n{text}'''");
    match written.parse::<Value>() {
        Ok(parsed) if parsed.as_str() == Some(text) => parsed,
        _ => Value::String(Formatted::new(text.to_owned())),
    }
}

fn images(fleet: &Fleet) -> ArrayOfTables {
    let mut all = ArrayOfTables::new();
    for images in &fleet.images {
        let mut table = Table::new();
        titled(&mut table, &[]);
        match images.distros.as_slice() {
            [one] => table.insert("distro", toml_edit::value(one.as_str())),
            several => table.insert(
                "distro",
                toml_edit::value(several.iter().map(String::as_str).collect::<Array>()),
            ),
        };
        table.insert("flavor", toml_edit::value(images.flavor.as_str()));
        table.insert(
            "sizes",
            toml_edit::value(images.sizes.iter().map(String::as_str).collect::<Array>()),
        );
        table.insert("id", toml_edit::value(images.id.as_str()));
        all.push(table);
    }
    all
}

fn publish_table(publish: &Publish) -> Table {
    let mut table = Table::new();
    let mut lines = Vec::new();
    if publish.compress == "none" {
        lines.push(
            "As Packer left them: not compressed. `compress = \"gzip\"` would make them a good deal smaller."
                .to_owned(),
        );
    }
    titled(&mut table, &lines);
    table.insert("format", toml_edit::value(publish.format.as_str()));
    table.insert("compress", toml_edit::value(publish.compress));
    if let Some(level) = publish.level.filter(|_| publish.compress != "none") {
        table.insert("level", toml_edit::value(level));
    }
    table.insert(
        "checksums",
        toml_edit::value(publish.checksums.iter().copied().collect::<Array>()),
    );
    if let Some(file) = &publish.file {
        table.insert("file", toml_edit::value(file.as_str()));
    }
    if publish.shacache {
        let mut shacache = Table::new();
        shacache.decor_mut().set_prefix(
            "\n# Reads /etc/opt/shacache/shacache.cfg. Nothing is uploaded unless a run says `--upload`.\n",
        );
        table.insert("shacache", Item::Table(shacache));
    }
    table
}
