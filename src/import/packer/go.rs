//! Packer's own templates (Go's `text/template` with Packer's functions): cut into pieces that are known now, and those
//! that only a build knows. Knows no keys.
//!
//! Functions and names are those of Packer's documentation ("Template Engine") and of its SDK's `interpolate/funcs.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::times::{RFC3339, time};
use super::uuid::uuid;

/// Variables that refer to each other this deep are going round in a circle.
const DEEPEST: usize = 8;
/// Longest text that variables may grow to, and that one action may make.
const LONGEST: usize = 64 * 1024;
/// What all actions of a text may make of it, in bytes.
const MOST: usize = 16 * LONGEST;

/// What is known of a user variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its value, everything in it resolved.
    pub value: String,
    /// It must not be written down.
    pub secret: bool,
    /// Its value comes from this variable of the environment.
    pub env: Option<String>,
    /// What the manifest's `[vars]` call it; absent: it is not one of them.
    pub kept: Option<String>,
}

/// What a template may use.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// User variables.
    pub vars: BTreeMap<String, Known>,
    /// Folder of the template.
    pub template_dir: String,
    pub build_name: String,
    /// Name of the machine (`vm_name`): `.Name` in what is typed.
    pub vm_name: String,
    /// The time of the import, in seconds since 1970.
    pub now: i64,
    /// The environment.
    pub env: Arc<BTreeMap<String, String>>,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Known now.
    Text(String),
    /// Known now, but another one at each build: what it is now, and the shell command that asks for it.
    Now(String, Option<String>),
    /// A variable that the manifest keeps, and filters of minijinja on it.
    Var {
        /// Its name in the manifest.
        name: String,
        /// Such as `upper`.
        filters: Vec<&'static str>,
        /// What it is now.
        value: String,
    },
    /// A secret variable: its name.
    Secret(String),
    /// A variable of the environment.
    Env(String),
    /// Known to a build alone: `.HTTPIP`.
    Context(String),
    /// Not known: the action as it was written.
    Unknown(String),
}

/// The pieces of a text. What would make a monster of it is as unknown as what is not understood.
pub fn pieces(text: &str, scope: &Scope) -> Vec<Piece> {
    let mut pieces = Vec::new();
    cut(text, scope, &mut 0, DEEPEST, &mut pieces);
    pieces
}

/// Cuts a text, and values of variables that have actions of their own.
fn cut(text: &str, scope: &Scope, made: &mut usize, deep: usize, pieces: &mut Vec<Piece>) {
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let Some(length) = rest[start..].find("}}") else {
            break;
        };
        push(pieces, Piece::Text(rest[..start].to_owned()));
        let raw = &rest[start..start + length + 2];
        rest = &rest[start + length + 2..];
        let piece = action(raw, scope);
        *made += match &piece {
            Piece::Text(text) | Piece::Now(text, _) => text.len(),
            Piece::Var { value, .. } => value.len(),
            _ => 0,
        };
        match piece {
            _ if *made > MOST => push(pieces, Piece::Unknown(raw.to_owned())),
            Piece::Text(value) | Piece::Var { value, .. } if deep > 0 && value.contains("{{") => {
                cut(&value, scope, made, deep - 1, pieces);
            }
            piece => push(pieces, piece),
        }
    }
    push(pieces, Piece::Text(rest.to_owned()));
}

fn push(pieces: &mut Vec<Piece>, piece: Piece) {
    match (pieces.last_mut(), piece) {
        (_, Piece::Text(text)) if text.is_empty() => {}
        (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
        (_, piece) => pieces.push(piece),
    }
}

/// Words of an action, stage by stage of its pipe.
fn stages(raw: &str) -> Vec<Vec<String>> {
    let inner = raw.trim_start_matches("{{").trim_end_matches("}}");
    let inner = inner.trim_start_matches('-').trim_end_matches('-');
    let mut stages = vec![Vec::new()];
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '|' => stages.push(Vec::new()),
            '`' | '"' => {
                let mut word = String::new();
                while let Some(c) = chars.next() {
                    match c {
                        '\\' if matches!(chars.peek(), Some('"' | '\\')) => word.extend(chars.next()),
                        end if end == '`' || end == '"' => break,
                        other => word.push(other),
                    }
                }
                if let Some(stage) = stages.last_mut() {
                    stage.push(word);
                }
            }
            c if c.is_whitespace() => {}
            c => {
                let mut word = c.to_string();
                while let Some(next) = chars.next_if(|c| !c.is_whitespace() && !matches!(c, '|' | '`' | '"'))
                {
                    word.push(next);
                }
                if let Some(stage) = stages.last_mut() {
                    stage.push(word);
                }
            }
        }
    }
    stages
}

/// The words of a text that is one action and nothing else.
pub fn lone(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    let inner = text.strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}"))
        .then(|| stages(text).into_iter().next())
        .flatten()
}

fn action(raw: &str, scope: &Scope) -> Piece {
    let mut piece: Option<Piece> = None;
    for stage in stages(raw) {
        let words: Vec<&str> = stage.iter().map(String::as_str).collect();
        let next = match (&piece, words.as_slice()) {
            (None, words) => first(words, scope),
            (Some(before), words) => filtered(before, words),
        };
        match next {
            Some(next) => piece = Some(next),
            None => return Piece::Unknown(raw.to_owned()),
        }
    }
    piece.unwrap_or_else(|| Piece::Unknown(raw.to_owned()))
}

fn first(words: &[&str], scope: &Scope) -> Option<Piece> {
    Some(match words {
        ["user", name] => variable(name, scope)?,
        ["env", name] if is_variable(name) => Piece::Env((*name).to_owned()),
        // No shell can export it.
        ["env", _] => Piece::Text(String::new()),
        ["timestamp"] => Piece::Now(scope.now.to_string(), Some("date +%s".to_owned())),
        ["isotime"] => at(scope.now, RFC3339),
        ["isotime", layout] => at(scope.now, layout),
        // What functions made of one of these; and a random UUID.
        ["pipeline_time", text] => Piece::Now((*text).to_owned(), None),
        // The hash of a password.
        ["pipeline_secret"] => Piece::Secret("password_hash".to_owned()),
        ["uuid"] | ["pipeline_uuid"] => {
            let command = "cat /proc/sys/kernel/random/uuid".to_owned();
            Piece::Now(uuid(scope.now.to_string().as_bytes(), 4), Some(command))
        }
        ["build_name"] | ["build", "Name" | "BuildName"] => Piece::Text(scope.build_name.clone()),
        ["build_type"] => Piece::Text("qemu".to_owned()),
        ["template_dir"] => Piece::Text(scope.template_dir.clone()),
        ["pwd"] => Piece::Text(".".to_owned()),
        [".Name"] => Piece::Text(scope.vm_name.clone()),
        [".BuildName"] => Piece::Text(scope.build_name.clone()),
        [".BuilderType" | ".Provider"] => Piece::Text("qemu".to_owned()),
        ["build", name] => Piece::Context(format!("build {name}")),
        [name] if name.starts_with('.') => Piece::Context((*name).to_owned()),
        [function, argument] => filtered(&Piece::Text((*argument).to_owned()), &[function])?,
        ["split", text, separator, index] => {
            let index: usize = index.parse().ok()?;
            Piece::Text(text.split(separator).nth(index)?.to_owned())
        }
        ["replace_all" | "replace", from, to, text] => {
            let grown = text.matches(from).count().saturating_mul(to.len());
            if grown > LONGEST {
                return None;
            }
            Piece::Text(text.replace(from, to))
        }
        _ => return None,
    })
}

fn at(now: i64, layout: &str) -> Piece {
    let (text, format) = time(now, layout);
    Piece::Now(text, Some(format!("date -u +'{format}'")))
}

fn variable(name: &str, scope: &Scope) -> Option<Piece> {
    let known = scope.vars.get(name)?;
    Some(if known.secret {
        Piece::Secret(name.to_owned())
    } else if let Some(env) = &known.env {
        Piece::Env(env.clone())
    } else if let Some(kept) = &known.kept {
        Piece::Var {
            name: kept.clone(),
            filters: Vec::new(),
            value: known.value.clone(),
        }
    } else {
        Piece::Text(known.value.clone())
    })
}

fn filtered(before: &Piece, words: &[&str]) -> Option<Piece> {
    let (filter, change): (&'static str, fn(&str) -> String) = match words {
        ["upper"] => ("upper", |text| text.to_uppercase()),
        ["lower"] => ("lower", |text| text.to_lowercase()),
        ["title"] => ("title", |text| text.to_owned()),
        ["clean_resource_name" | "clean_image_name" | "clean_ami_name"] => ("", clean),
        ["urlquery"] => ("urlencode", |text| text.to_owned()),
        [] => return Some(before.clone()),
        _ => return None,
    };
    Some(match before {
        Piece::Text(text) => Piece::Text(change(text)),
        Piece::Now(text, _) => Piece::Now(change(text), None),
        Piece::Var { value, .. } if filter.is_empty() => Piece::Text(change(value)),
        Piece::Var { name, filters, value } => {
            let mut filters = filters.clone();
            filters.push(filter);
            Piece::Var {
                name: name.clone(),
                filters,
                value: change(value),
            }
        }
        Piece::Context(name) => Piece::Context(name.clone()),
        Piece::Secret(_) | Piece::Env(_) | Piece::Unknown(_) => return None,
    })
}

/// What Packer leaves of a name for images.
fn clean(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.chars().map(|c| if fits(c) { c } else { '-' }).collect()
}

/// As [`resolve`], for names: without times, and whether there was one.
pub fn lasting(text: &str, scope: &Scope) -> (String, bool) {
    const PARTS: [char; 3] = ['-', '_', '.'];
    let resolved = pieces(text, scope).into_iter().map(|piece| match piece {
        Piece::Now(..) => "\0".to_owned(),
        piece => resolved(piece, scope),
    });
    let mut name: String = resolved.collect();
    let has_time = name.contains('\0');
    while let Some((before, after)) = name.split_once('\0') {
        let before = before.trim_end_matches(PARTS);
        let after = match before {
            "" => after.trim_start_matches(PARTS),
            _ => after,
        };
        name = format!("{before}{after}");
    }
    (name, has_time)
}

/// A text in which all is resolved that can be. What only a build knows, and secrets, stay as they were written.
pub fn resolve(text: &str, scope: &Scope) -> String {
    let whole = pieces(text, scope).into_iter();
    whole.map(|piece| resolved(piece, scope)).collect()
}

pub fn resolved(piece: Piece, scope: &Scope) -> String {
    match piece {
        Piece::Text(text) | Piece::Now(text, _) | Piece::Unknown(text) => text,
        Piece::Var { value, .. } => value,
        Piece::Secret(name) => format!("{{{{user `{name}`}}}}"),
        Piece::Env(name) => scope.env.get(&name).cloned().unwrap_or_default(),
        Piece::Context(name) => format!("{{{{ {name} }}}}"),
    }
}

/// Names of the user variables in a text.
pub fn users(text: &str) -> Vec<String> {
    let actions = text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
    let first = actions.filter_map(|(inner, _)| stages(inner).into_iter().next());
    first
        .filter_map(|words| match words.as_slice() {
            [user, name] if user == "user" => Some(name.clone()),
            _ => None,
        })
        .collect()
}

/// A template of the manifest's: kept variables stay variables, `context` translates what only a build knows.
///
/// # Errors
/// The first action that has no translation, as it was written.
pub fn jinja(text: &str, scope: &Scope, context: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut result = String::new();
    for piece in pieces(text, scope) {
        match piece {
            Piece::Text(text) => result.push_str(&escape(&text)),
            Piece::Var { name, filters, .. } => result.push_str(&var(&name, &filters)),
            Piece::Now(text, _) => return Err(text),
            Piece::Context(name) => match context(&name) {
                Some(text) => result.push_str(&text),
                None => return Err(format!("{{{{ {name} }}}}")),
            },
            Piece::Secret(name) => return Err(format!("{{{{user `{name}`}}}}")),
            Piece::Env(name) if !is_secret_name(&name) => {
                result.push_str(&escape(&resolved(Piece::Env(name), scope)));
            }
            Piece::Env(name) => return Err(format!("{{{{env `{name}`}}}}")),
            Piece::Unknown(raw) => return Err(raw),
        }
    }
    Ok(result)
}

/// A variable of the manifest's, for minijinja.
pub fn var(name: &str, filters: &[&str]) -> String {
    let filters: String = filters.iter().map(|filter| format!(" | {filter}")).collect();
    format!("{{{{ {name}{filters} }}}}")
}

/// A text that minijinja gives back as it is.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let next = rest.as_bytes().get(at + 1);
        escaped.push_str(&rest[..at]);
        // A brace at the end could meet one that the template puts behind it.
        if matches!(next, None | Some(b'{' | b'%' | b'#')) {
            escaped.push_str("{{ \"{\" }}");
        } else {
            escaped.push('{');
        }
        rest = &rest[at + 1..];
    }
    escaped + rest
}

/// The variables with their values, in which other variables and functions are resolved.
pub fn settle(defaults: &[(String, Known)], scope: &Scope) -> BTreeMap<String, Known> {
    let mut scope = scope.clone();
    scope.vars = defaults.iter().cloned().collect();
    for _ in 0..DEEPEST {
        let mut settled = scope.vars.clone();
        let mut made = 0;
        for known in settled.values_mut() {
            if !known.value.contains("{{") {
                continue;
            }
            let inside = pieces(&known.value, &scope);
            if let [Piece::Env(name)] = inside.as_slice() {
                let value = scope.env.get(name).cloned();
                (known.env, known.value) = (Some(name.clone()), value.unwrap_or_default());
                continue;
            }
            known.secret |= inside.iter().any(|piece| matches!(piece, Piece::Secret(_)));
            let value = resolve(&known.value, &scope);
            made += value.len();
            if made > MOST {
                return scope.vars;
            }
            if value.len() <= LONGEST {
                known.value = value;
            }
        }
        if settled == scope.vars {
            break;
        }
        scope.vars = settled;
    }
    scope.vars
}

/// Whether a name speaks of something that must not be written down.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    ([
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "private_key",
        "api_key",
        "apikey",
        "access_key",
        "credential",
    ]
    .iter()
    .any(|word| name.contains(word))
        || name.split(['_', '-']).any(|word| matches!(word, "pw" | "pass")))
        && !name.ends_with("_file")
        && !name.ends_with("_path")
}

/// Whether a variable of the environment can have this name.
pub fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The variable of the environment that a secret is asked from.
pub fn env_name(name: &str) -> String {
    let fits = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    let name: String = name.chars().map(fits).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        format!("_{name}")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let known = |value: &str, kept: Option<&str>| Known {
            value: value.to_owned(),
            kept: kept.map(str::to_owned),
            ..Known::default()
        };
        let mut scope = Scope {
            vm_name: "packer-x".to_owned(),
            now: 1_700_000_000,
            ..Scope::default()
        };
        scope.vars.insert("size".to_owned(), known("50", None));
        scope.vars.insert("who".to_owned(), known("a b", Some("who")));
        let secret = Known {
            value: "hunter2".to_owned(),
            secret: true,
            ..Known::default()
        };
        scope.vars.insert("pw".to_owned(), secret);
        scope
    }

    #[test]
    fn what_is_known_is_resolved_and_the_rest_stays() {
        let scope = scope();
        assert_eq!(resolve("{{user `size`}}000", &scope), "50000");
        assert_eq!(resolve("{{ user \"who\" | upper }}", &scope), "A B");
        assert_eq!(
            resolve("{{ .Name }} {{isotime `20060102-1504`}}", &scope),
            "packer-x 20231114-2213"
        );
        assert_eq!(resolve("{{ user `who` | clean_resource_name }}", &scope), "a-b");
        assert_eq!(
            resolve("{{.HTTPIP}} {{user `pw`}} {{nope", &scope),
            "{{ .HTTPIP }} {{user `pw`}} {{nope"
        );
    }

    #[test]
    fn kept_variables_become_minijinja() {
        let scope = scope();
        let context = |name: &str| (name == ".HTTPIP").then(|| "{{ host.address }}".to_owned());
        let text = jinja(
            "x={{user `who` | lower}} {{ .HTTPIP }} {% raw {#",
            &scope,
            &context,
        );
        assert_eq!(
            text.unwrap(),
            "x={{ who | lower }} {{ host.address }} {{ \"{\" }}% raw {{ \"{\" }}#"
        );
        assert_eq!(
            jinja("{{user `pw`}}", &scope, &context),
            Err("{{user `pw`}}".to_owned())
        );
        assert_eq!(
            jinja("{{ .Else }}", &scope, &context),
            Err("{{ .Else }}".to_owned())
        );
    }

    #[test]
    fn no_text_becomes_a_monster() {
        let mut scope = scope();
        let long = "x".repeat(LONGEST);
        scope.vars.get_mut("size").unwrap().value.clone_from(&long);
        let many = "{{user `size`}}".repeat(1000);
        let resolved = resolve(&many, &scope);
        assert!(resolved.len() < 2 * MOST, "{}", resolved.len());
        assert!(resolved.ends_with("{{user `size`}}"));
        let grow = format!("{{{{ replace_all `x` `{long}` `{long}` }}}}");
        assert_eq!(resolve(&grow, &scope), grow);
    }

    #[test]
    fn times_go_from_names_and_have_a_form_for_the_guest() {
        let scope = scope();
        for (text, name) in [
            ("house-{{isotime `20060102`}}.qcow2", "house.qcow2"),
            ("house-{{timestamp}}-x", "house-x"),
            ("{{timestamp}}-x", "x"),
            ("house", "house"),
        ] {
            assert_eq!(lasting(text, &scope), (name.to_owned(), text.contains("{{")));
        }
        assert_eq!(
            pieces("{{isotime `20060102-1504`}}", &scope),
            [Piece::Now(
                "20231114-2213".to_owned(),
                Some("date -u +'%Y%m%d-%H%M'".to_owned())
            )]
        );
    }

    #[test]
    fn variables_in_circles_end() {
        let circle = ["a", "b"].map(|name| {
            let other = if name == "a" { "b" } else { "a" };
            let value = format!("{{{{user `{other}`}}}}{{{{user `{other}`}}}}");
            (
                name.to_owned(),
                Known {
                    value,
                    ..Known::default()
                },
            )
        });
        assert!(settle(&circle, &Scope::default())["a"].value.len() <= LONGEST);
    }
}
