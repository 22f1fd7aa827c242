//! INI files as Python's `ConfigParser` reads them (strict, basic interpolation), for files that are shared with programs
//! which do. Pure text; knows no key by name.

use std::collections::BTreeMap;

/// The section whose values stand in all others.
const DEFAULTS: &str = "DEFAULT";
/// Deepest `%(name)s` in `%(name)s` (ConfigParser's MAX_INTERPOLATION_DEPTH).
const DEPTH: u32 = 10;
/// Bytes of all values that one value is made of.
const MOST: usize = 1 << 20;

/// A value and the line of its key.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) line: usize,
    pub(super) value: String,
    /// Whether it comes from the defaults: names there may exist for interpolation only.
    pub(super) by_default: bool,
}

/// Values by key.
pub(super) type Section = BTreeMap<String, Setting>;

/// The values of one section over the defaults; none where there is no such section. An error has its line.
pub(super) fn section(text: &str, wanted: &str) -> Result<Option<Section>, (usize, String)> {
    let mut all: BTreeMap<String, Section> = BTreeMap::new();
    let mut section: Option<String> = None;
    let mut option: Option<String> = None;
    let mut indent = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let value = line.trim();
        if value.starts_with(['#', ';']) {
            continue;
        }
        let current = match (&section, &option) {
            (Some(section), Some(option)) => all.get_mut(section).and_then(|s| s.get_mut(option)),
            _ => None,
        };
        if value.is_empty() {
            if let Some(current) = current {
                current.value.push('\n');
            }
            continue;
        }
        let here = line.chars().take_while(|c| c.is_whitespace()).count();
        if let Some(current) = current.filter(|_| here > indent) {
            current.value.push('\n');
            current.value.push_str(value);
            continue;
        }
        indent = here;
        if let Some(name) = value
            .strip_prefix('[')
            .and_then(|rest| rest.rsplit_once(']'))
            .map(|(name, _)| name)
            && !name.is_empty()
        {
            if all.contains_key(name) {
                return Err((number, format!("the section [{name}] is there twice; join them")));
            }
            all.insert(name.to_owned(), Section::new());
            (section, option) = (Some(name.to_owned()), None);
            continue;
        }
        let Some(inside) = section.as_ref().and_then(|name| all.get_mut(name)) else {
            return Err((
                number,
                format!("this line is above the first section; add [{wanted}] above it"),
            ));
        };
        let Some((key, rest)) = value
            .split_once(['=', ':'])
            .filter(|(key, _)| !key.trim().is_empty())
        else {
            let remedy = if value.starts_with("-----") || value.len() == 64 {
                "lines of a certificate must be indented"
            } else {
                "write: key = value"
            };
            return Err((
                number,
                format!("this is neither a key nor the rest of a value; {remedy}"),
            ));
        };
        let key = key.trim_end().to_lowercase();
        if inside.contains_key(&key) {
            return Err((
                number,
                format!("the key `{key}` is there twice; take one of them out"),
            ));
        }
        let value = rest.trim().to_owned();
        let by_default = section.as_deref() == Some(DEFAULTS);
        inside.insert(
            key.clone(),
            Setting {
                line: number,
                value,
                by_default,
            },
        );
        option = Some(key);
    }
    let defaults = all.remove(DEFAULTS).unwrap_or_default();
    let Some(own) = all.remove(wanted) else {
        return Ok(None);
    };
    let mut merged = defaults;
    merged.extend(own);
    for option in merged.values_mut() {
        let length = option.value.trim_end().len();
        option.value.truncate(length);
    }
    Ok(Some(merged))
}

/// ConfigParser's basic interpolation: `%%` is a percent sign, `%(name)s` another value, any other `%` a mistake.
pub(super) fn interpolate(section: &Section, value: &str) -> Result<String, String> {
    let mut text = String::with_capacity(value.len());
    fill(section, value, 0, &mut { MOST }, &mut text)?;
    Ok(text)
}

/// `left`: bytes of values that may still be walked through. Depth alone does not bound them: ten values that each name
/// the next one ten times have ten thousand million ends.
fn fill(
    section: &Section,
    value: &str,
    depth: u32,
    left: &mut usize,
    text: &mut String,
) -> Result<(), String> {
    if depth > DEPTH {
        return Err("its `%(…)s` go in a circle".to_owned());
    }
    *left = left
        .checked_sub(value.len() + 1)
        .ok_or("its `%(…)s` make it larger than any value; name fewer of them")?;
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            text.push('%');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(")s")) {
            let name = name.to_lowercase();
            let Some(option) = section.get(&name) else {
                return Err(format!("`%({name})s` names no key"));
            };
            fill(section, &option.value, depth + 1, left, text)?;
            rest = after;
        } else {
            return Err("a `%` stands alone; write it twice: %%".to_owned());
        }
    }
    text.push_str(rest);
    Ok(())
}
