//! Templates: rendered strictly (an undefined variable is an error), and linted before anything is built.
//! Knows minijinja, nothing of where a template stands in a manifest or of what its names mean.

mod error;
mod lost;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

use self::error::uses;
pub use self::error::{Fault, TemplateError};
pub use self::lost::lost;
use super::builtin;
use super::context::Context;
use super::model::Template;

/// Names that the template language itself defines in some places.
const LANGUAGE: [&str; 5] = ["caller", "loop", "self", "super", "varargs"];

/// Work of one rendering, in the engine's own unit: an instruction, or 64 bytes. Answers take some thousands.
const FUEL: u64 = 2_000_000;
/// Longest expression or statement, in bytes. The engine's compiler goes as deep as an expression has operators, and a
/// stack has an end.
const LONGEST: usize = 4096;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = environment();
    for (name, text) in builtin::TEMPLATES {
        let added = environment.add_template(name, text);
        added.expect("a unit test compiles every built-in template");
    }
    environment
});

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true);
    environment.set_syntax(syntax.build().expect("the delimiters are the default ones"));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // Values in XML answers are escaped, so that a `&` in a var breaks no document; names and shell scripts are no HTML.
    environment.set_auto_escape_callback(|name| {
        if name.trim_end_matches(".j2").ends_with(".xml") {
            minijinja::AutoEscape::Html
        } else {
            minijinja::AutoEscape::None
        }
    });
    environment.set_debug(true);
    environment.add_filter("major", |version: &str| crate::installer::version::major(version));
    // A loop in a loop, or a width of 10^9, should be an error, not a hang.
    environment.set_fuel(Some(FUEL));
    environment
}

/// Renders a template. It can extend and include the built-in ones.
///
/// # Errors
/// The first fault that rendering meets, with its line.
pub fn render(template: &Template, context: &Context) -> Result<String, TemplateError> {
    render_text(&ENVIRONMENT, &template.name, &template.text, context)
}

fn compile<'t>(
    environment: &'t Environment<'static>,
    name: &'t str,
    text: &'t str,
) -> Result<minijinja::Template<'t, 't>, minijinja::Error> {
    if let Some(line) = overlong_expression(text) {
        let cause =
            format!("line {line} begins an expression of more than {LONGEST} bytes; cut it with `set`");
        return Err(minijinja::Error::new(ErrorKind::SyntaxError, cause));
    }
    environment.template_from_named_str(name, text)
}

/// The line of an expression or statement that is too long to be compiled.
fn overlong_expression(text: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(start) = text[at..].find("{").map(|found| at + found) {
        let close = match text.as_bytes().get(start + 1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            _ => {
                at = start + 1;
                continue;
            }
        };
        let length = inside(&text[start + 2..], close);
        if length > LONGEST {
            return Some(text[..start].matches('\n').count() + 1);
        }
        at = start + 2 + length;
    }
    None
}

/// Bytes in front of what closes; what stands in quotes closes nothing. Nothing closes: no expression, so 0.
fn inside(text: &str, close: &str) -> usize {
    let (mut quote, mut escaped) = (None, false);
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            _ if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(end), byte) if byte == end => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, _) if text.as_bytes()[at..].starts_with(close.as_bytes()) => return at,
            _ => {}
        }
    }
    0
}

fn render_text(
    environment: &Environment<'static>,
    name: &str,
    text: &str,
    context: &Context,
) -> Result<String, TemplateError> {
    let compiled = compile(environment, name, text);
    let rendered = compiled.and_then(|template| template.render(values(context)));
    rendered.map_err(|error| TemplateError::from_engine(&error, name, text, context))
}

/// Renders a template to a value: where it is nothing but one expression (`{{ disk_gb }}`), the value keeps its type;
/// everything else is text.
///
/// # Errors
/// As [`render`].
pub fn render_value(name: &str, text: &str, context: &Context) -> Result<serde_json::Value, TemplateError> {
    let failed = |error: &minijinja::Error| TemplateError::from_engine(error, name, text, context);
    let rendered = render_text(&ENVIRONMENT, name, text, context)?;
    let Some(expression) = lone_expression(text) else {
        return Ok(rendered.into());
    };
    let compiled = ENVIRONMENT
        .compile_expression(expression)
        .map_err(|error| failed(&error))?;
    let value = compiled.eval(values(context)).map_err(|error| failed(&error))?;
    Ok(json(&value).unwrap_or_else(|| rendered.into()))
}

/// A plain value as JSON; none for what has no form there, which is shown as it would be printed.
fn json(value: &Value) -> Option<serde_json::Value> {
    Some(match value.kind() {
        ValueKind::Bool => value.is_true().into(),
        ValueKind::Number => match i64::try_from(value.clone()) {
            Ok(whole) => whole.into(),
            Err(_) => f64::try_from(value.clone()).ok()?.into(),
        },
        ValueKind::String => value.as_str()?.into(),
        ValueKind::Seq => value
            .try_iter()
            .ok()?
            .map(|item| json(&item))
            .collect::<Option<Vec<_>>>()?
            .into(),
        _ => return None,
    })
}

/// What stands between the braces of a template that is one expression.
fn lone_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let parts = ["{{", "}}", "{%", "{#"];
    (!parts.iter().any(|part| inner.contains(part))).then_some(inner)
}

/// Renders a built-in template.
///
/// # Errors
/// As [`render`].
pub fn render_builtin(name: &'static str, context: &Context) -> Result<String, TemplateError> {
    let text = builtin::template(name).unwrap_or_default();
    render_text(&ENVIRONMENT, name, text, context)
}

/// Names of the vars that built-in templates ask for.
#[cfg(feature = "import-packer")]
pub fn builtin_vars() -> BTreeSet<String> {
    let all = builtin::TEMPLATES.iter();
    let compiled = all.filter_map(|(name, text)| compile(&ENVIRONMENT, name, text).ok());
    compiled
        .flat_map(|template| template.undeclared_variables(false))
        .collect()
}

/// A template that is compiled once and rendered for many contexts.
#[derive(Debug)]
pub struct Compiled<'t> {
    name: &'t str,
    text: &'t str,
    template: minijinja::Template<'t, 't>,
}

/// A context made ready to be shared by many renderings.
#[derive(Clone, Debug)]
pub struct Base(Value);

impl From<&Context> for Base {
    fn from(context: &Context) -> Self {
        Self(values(context))
    }
}

impl<'t> Compiled<'t> {
    /// Compiles.
    ///
    /// # Errors
    /// A syntax error.
    pub fn new(name: &'t str, text: &'t str) -> Result<Self, TemplateError> {
        let template = compile(&ENVIRONMENT, name, text);
        let template =
            template.map_err(|error| TemplateError::from_engine(&error, name, text, &Context::new()))?;
        Ok(Self { name, text, template })
    }

    /// Renders with some more names.
    ///
    /// # Errors
    /// The first fault that rendering meets.
    pub fn render(&self, base: &Base, more: &[(&str, &str)]) -> Result<String, TemplateError> {
        let facts = more.iter().map(|(key, value)| (*key, Value::from(*value)));
        let context = minijinja::value::merge_maps([base.0.clone(), Value::from_pairs(facts)]);
        self.template
            .render(context)
            .map_err(|error| TemplateError::from_engine(&error, self.name, self.text, &Context::new()))
    }
}

/// Everything that is wrong with a template for this context: all undefined variables, also those in branches that are
/// not taken now, or else the first other fault.
pub fn lint(name: &str, text: &str, context: &Context) -> Vec<TemplateError> {
    lint_in(&ENVIRONMENT, name, text, context)
}

fn lint_in(
    environment: &Environment<'static>,
    name: &str,
    text: &str,
    context: &Context,
) -> Vec<TemplateError> {
    let template = match compile(environment, name, text) {
        Ok(template) => template,
        Err(error) => return vec![TemplateError::from_engine(&error, name, text, context)],
    };
    let globals: BTreeSet<_> = environment.globals().map(|(name, _)| name.to_owned()).collect();
    let known = |variable: &String| {
        context.contains_key(variable)
            || globals.contains(variable)
            || LANGUAGE.contains(&variable.as_str())
            || is_guarded(text, variable)
    };
    let names: BTreeSet<_> = template.undeclared_variables(false).into_iter().collect();
    let mut faults: Vec<_> = names
        .into_iter()
        .filter(|variable| !known(variable))
        .map(|variable| TemplateError::undefined(name, text, &variable, context))
        .collect();
    faults.sort_by_key(|fault| fault.span.clone().map(|span| span.start));
    if faults.is_empty() {
        faults.extend(render_text(environment, name, text, context).err());
    }
    faults
}

/// Whether a template asks first if the variable is there.
fn is_guarded(text: &str, variable: &str) -> bool {
    uses(text, variable).any(|span| {
        let rest = text[span.end..].trim_start();
        let test = |rest: &str, word: &str| rest.strip_prefix(word).map(str::trim_start).map(str::to_owned);
        let filtered =
            test(rest, "|").is_some_and(|rest| rest.starts_with("default") || rest.starts_with("d("));
        let tested = test(rest, "is ").is_some_and(|rest| {
            let rest = test(&rest, "not ").unwrap_or(rest);
            rest.starts_with("defined") || rest.starts_with("undefined")
        });
        filtered || tested
    })
}

fn values(context: &Context) -> Value {
    Value::from_pairs(context.iter().map(|(key, json)| (key.as_str(), value(json))))
}

fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Value::from(whole),
            None => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(value).collect(),
        serde_json::Value::Object(entries) => {
            Value::from_pairs(entries.iter().map(|(key, json)| (key.as_str(), value(json))))
        }
    }
}

#[cfg(test)]
mod tests {
    use miette::Diagnostic as _;

    use super::*;

    #[test]
    fn templates_that_never_end_or_make_monsters_are_refused() {
        let refused = |text: &str| lint("t", text, &Context::new()).remove(0).to_string();
        for text in [
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "{{ 'a' | indent(99999999999999999) }}",
            "{{ '%99999999999d' | format(1) }}",
            "{{ '%.99999999999f' | format(1.5) }}",
            "{{ [1] | batch(9999999999, 0) }}",
        ] {
            assert!(
                refused(text).contains("takes too long"),
                "{text}: {}",
                refused(text)
            );
        }
        for text in [
            format!("\n{{{{ 1{} }}}}", "+1".repeat(20_000)),
            format!("\n{{% if '}}}}%}}' ~ a{} %}}{{% endif %}}", ".a".repeat(20_000)),
        ] {
            assert!(
                refused(&text).contains("line 2 begins an expression"),
                "{}",
                refused(&text)
            );
        }
        let long = format!("{{{{ 1 }}}}{{# {0} #}}{0} {{ {{{{ 2 }}}}", "'".repeat(9000));
        assert!(lint("t", &long, &Context::new()).is_empty());
    }

    fn context(pairs: &[(&str, &str)]) -> Context {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).into()))
            .collect()
    }

    fn template(text: &str) -> Template {
        Template {
            name: "setup.sh.j2".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn blocks_leave_no_blank_lines_and_nothing_is_escaped() {
        let text = "#!/bin/sh\n{% for p in packages %}\n  {% if p %}\ninstall {{ p }}\n  {% endif %}\n{% endfor %}\n";
        let mut context = context(&[]);
        context.insert("packages".to_owned(), vec!["a&b", "<c>"].into());
        let mut html = template(text);
        html.name = "page.html".to_owned();
        assert_eq!(
            render(&html, &context).unwrap(),
            "#!/bin/sh\ninstall a&b\ninstall <c>\n"
        );
    }

    #[test]
    fn values_in_xml_answers_are_escaped_and_nowhere_else() {
        let render = |name: &str, text: &str| {
            let template = Template {
                name: name.to_owned(),
                text: text.to_owned(),
            };
            render(&template, &context(&[("name", "R&D <x>")])).unwrap()
        };
        let xml = "<a>{{ name }}</a>";
        assert_eq!(render("autoyast.xml.j2", xml), "<a>R&amp;D &lt;x&gt;</a>");
        assert_eq!(render("autoyast.xml", "{{ name | safe }}"), "R&D <x>");
        assert_eq!(render("setup.sh.j2", xml), "<a>R&D <x></a>");
        assert_eq!(render("setup.sh.j2", "{{ name | escape }}"), "R&amp;D &lt;x&gt;");
    }

    #[test]
    fn a_template_of_one_expression_keeps_its_type() {
        let mut context = context(&[("version", "12")]);
        context.insert("disk_gb".to_owned(), 50.into());
        let value = |text| render_value("m", text, &context).unwrap();
        assert_eq!(value("{{ disk_gb }}"), 50);
        assert_eq!(value("{{ version }}"), "12");
        assert_eq!(value("{{ disk_gb > 9 }}"), true);
        assert_eq!(value("{{ disk_gb }}G"), "50G");
        assert_eq!(value("{{ disk_gb }}{{ version }}"), "5012");
    }

    #[test]
    fn an_undefined_variable_is_named_with_its_line() {
        let error = render(
            &template("one\ntwo {{ keympa }}\n"),
            &context(&[("keymap", "fr")]),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "template `setup.sh.j2`, line 2: undefined variable `keympa`"
        );
        assert_eq!(
            error.help().unwrap().to_string(),
            "did you mean `keymap`? the only one of the known variables is keymap"
        );
    }

    #[test]
    fn lint_finds_all_undefined_variables_also_in_branches_not_taken() {
        let text = "{% if false %}{{ a }}{% endif %}{{ b.c }} {% for x in range(2) %}{{ loop.index }}{{ x }}{% endfor %}\n\
            {{ d | default('') }}{% if e is defined %}{{ e }}{% endif %}{% set f = 1 %}{{ f }}{# g #} h";
        let names: Vec<_> = lint("t", text, &context(&[]))
            .into_iter()
            .map(|error| match *error.fault {
                Fault::Undefined { name, .. } => name,
                Fault::Other { cause, .. } => cause,
            })
            .collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_template_can_extend_a_built_in_one_and_faults_name_the_right_one() {
        let mut environment = environment();
        environment
            .add_template("base.j2", "set -e\n{% block more %}{% endblock %}\n{{ end }}\n")
            .unwrap();
        let child = "{% extends \"base.j2\" %}{% block more %}hello {{ name }}\n{% endblock %}";
        let good = context(&[("name", "x"), ("end", "bye")]);
        assert_eq!(
            render_text(&environment, "child.j2", child, &good).unwrap(),
            "set -e\nhello x\nbye\n"
        );
        let faults = lint_in(&environment, "child.j2", child, &context(&[("name", "x")]));
        assert_eq!(
            faults[0].to_string(),
            "template `base.j2`, line 3: undefined variable `end`"
        );
        assert_eq!(
            lint_in(&environment, "t", "{% extends 'gone' %}", &good)[0].line,
            Some(1)
        );
    }

    #[test]
    fn every_built_in_template_compiles() {
        for (name, text) in builtin::TEMPLATES {
            assert!(
                environment().template_from_named_str(name, text).is_ok(),
                "{name}"
            );
        }
    }
}
