//! Packer's HCL functions, as far as templates use them. None makes a value much larger than its arguments. What only a
//! build or the disk knows (time, files) becomes an action of Packer's text templates, resolved where the text is used.
//!
//! Names and meanings are those of Packer's documentation ("Functions").

use hcl::Value;
use hcl::eval::{Context, FuncArgs, FuncDef, ParamType};
use hcl::value::Map;

type Given = Result<Value, String>;
type Function = fn(FuncArgs) -> Given;

/// Declares all of them.
pub fn declare(context: &mut Context<'_>) {
    for (name, function) in FUNCTIONS {
        let mut def = FuncDef::builder();
        def = def.variadic_param(ParamType::Any);
        context.declare_func(hcl::Identifier::sanitized(name), def.build(*function));
    }
}

const FUNCTIONS: &[(&str, Function)] = &[
    ("abspath", |args| first(&args)),
    ("basename", |args| {
        on_text(&args, |text| {
            text.rsplit('/').next().unwrap_or_default().to_owned()
        })
    }),
    ("can", |_| Ok(true.into())),
    ("chomp", |args| {
        on_text(&args, |text| text.trim_end_matches(['\n', '\r']).to_owned())
    }),
    ("coalesce", |args| {
        args.iter()
            .find(|v| !v.is_null() && v.as_str() != Some(""))
            .cloned()
            .ok_or("nothing is set".to_owned())
    }),
    ("compact", |args| {
        Ok(list(&args, 0)?
            .iter()
            .filter(|v| !v.is_null() && v.as_str() != Some(""))
            .cloned()
            .collect())
    }),
    ("concat", |args| {
        let lists: Result<Vec<_>, _> = (0..args.len()).map(|at| list(&args, at)).collect();
        Ok(lists?.into_iter().flatten().collect())
    }),
    ("contains", |args| {
        Ok(list(&args, 0)?
            .contains(args.get(1).unwrap_or(&Value::Null))
            .into())
    }),
    ("convert", |args| first(&args)),
    ("dirname", |args| {
        on_text(&args, |text| {
            text.rsplit_once('/').map_or(".", |(folder, _)| folder).to_owned()
        })
    }),
    ("distinct", |args| {
        let mut seen: Vec<Value> = Vec::new();
        for item in list(&args, 0)? {
            if !seen.contains(&item) {
                seen.push(item);
            }
        }
        Ok(seen.into())
    }),
    ("element", |args| {
        let items = list(&args, 0)?;
        let index = args.get(1).and_then(Value::as_u64).ok_or("no index")?;
        let length = u64::try_from(items.len()).unwrap_or(1);
        let at = index.checked_rem(length).ok_or("the list is empty")?;
        usize::try_from(at)
            .ok()
            .and_then(|at| items.get(at).cloned())
            .ok_or("no such index".to_owned())
    }),
    ("env", |args| {
        Ok(format!("{{{{env `{}`}}}}", text(&args, 0)?.replace('`', "")).into())
    }),
    ("file", |args| {
        Ok(format!("{{{{pipeline_file `{}`}}}}", text(&args, 0)?.replace('`', "")).into())
    }),
    ("flatten", |args| {
        Ok(list(&args, 0)?
            .into_iter()
            .flat_map(|item| match item {
                Value::Array(items) => items,
                other => vec![other],
            })
            .collect())
    }),
    ("format", |args| format_text(&args).map(Value::from)),
    ("formatdate", |args| {
        Ok(format!("{{{{isotime `{}`}}}}", go_layout(&text(&args, 0)?)).into())
    }),
    ("join", |args| {
        let separator = text(&args, 0)?;
        let mut parts = Vec::new();
        for at in 1..args.len() {
            for item in list(&args, at)? {
                parts.push(scalar(&item).ok_or("only texts can be joined")?);
            }
        }
        Ok(parts.join(&separator).into())
    }),
    ("jsonencode", |args| {
        serde_json::to_string(&first(&args)?)
            .map(Value::from)
            .map_err(|e| e.to_string())
    }),
    ("keys", |args| {
        Ok(object(&args, 0)?
            .keys()
            .map(|key| Value::from(key.as_str()))
            .collect())
    }),
    ("legacy_isotime", |args| {
        Ok(format!("{{{{isotime `{}`}}}}", text(&args, 0)?.replace('`', "")).into())
    }),
    ("length", |args| {
        Ok(match first(&args)? {
            Value::Array(items) => items.len(),
            Value::Object(entries) => entries.len(),
            other => scalar(&other).ok_or("nothing to count")?.chars().count(),
        }
        .into())
    }),
    ("lookup", |args| {
        let found = object(&args, 0)?.get(text(&args, 1)?.as_str()).cloned();
        found
            .or_else(|| args.get(2).cloned())
            .ok_or("no such key".to_owned())
    }),
    ("lower", |args| on_text(&args, str::to_lowercase)),
    ("max", |args| extreme(&args, |a, b| a > b)),
    ("merge", |args| {
        let mut merged = Map::new();
        for at in 0..args.len() {
            merged.extend(object(&args, at)?);
        }
        Ok(Value::Object(merged))
    }),
    ("min", |args| extreme(&args, |a, b| a < b)),
    ("packerversion", |_| Ok("1.11.0".into())),
    ("pathexpand", |args| first(&args)),
    ("regex_replace", |args| {
        let pattern = regex::RegexBuilder::new(&text(&args, 1)?)
            .size_limit(1 << 20)
            .build()
            .map_err(|e| e.to_string())?;
        let replaced = pattern
            .replace_all(&text(&args, 0)?, text(&args, 2)?.as_str())
            .into_owned();
        bounded(replaced)
    }),
    ("replace", |args| {
        let (from, to) = (text(&args, 1)?, text(&args, 2)?);
        if from.is_empty() {
            return first(&args);
        }
        bounded(text(&args, 0)?.replace(&from, &to))
    }),
    ("reverse", |args| Ok(list(&args, 0)?.into_iter().rev().collect())),
    ("sort", |args| {
        let mut texts: Vec<_> = list(&args, 0)?.iter().filter_map(scalar).collect();
        texts.sort();
        Ok(texts.into_iter().map(Value::from).collect())
    }),
    ("split", |args| {
        let (separator, whole) = (text(&args, 0)?, text(&args, 1)?);
        if separator.is_empty() {
            return Err("the separator is empty".to_owned());
        }
        Ok(whole.split(&separator).map(Value::from).collect())
    }),
    ("substr", |args| {
        let whole = text(&args, 0)?;
        let number = |at: usize| args.get(at).and_then(Value::as_i64).ok_or("no number");
        let (start, length) = (number(1)?, number(2)?);
        let start = usize::try_from(start).map_err(|_| "only from the start")?;
        let rest = whole.chars().skip(start);
        Ok(match usize::try_from(length) {
            Ok(length) => rest.take(length).collect::<String>(),
            Err(_) => rest.collect(),
        }
        .into())
    }),
    ("templatefile", |args| {
        let name = text(&args, 0)?.replace('`', "");
        let values = serde_json::to_string(args.get(1).unwrap_or(&Value::Null)).map_err(|e| e.to_string())?;
        let hex: String = values.bytes().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{{{{pipeline_templatefile `{name}` `{hex}`}}}}").into())
    }),
    ("timestamp", |_| Ok("{{timestamp}}".into())),
    ("title", |args| {
        on_text(&args, |text| {
            let mut start = true;
            text.chars()
                .map(|c| {
                    let upper = start;
                    start = c.is_whitespace();
                    if upper { c.to_ascii_uppercase() } else { c }
                })
                .collect()
        })
    }),
    ("tolist", |args| first(&args)),
    ("tonumber", |args| match first(&args)? {
        Value::String(text) => {
            let whole = text.trim().parse::<i64>().map(Value::from);
            whole.map_err(|_| format!("`{text}` is no whole number"))
        }
        other => Ok(other),
    }),
    ("toset", |args| first(&args)),
    ("tostring", |args| {
        scalar(&first(&args)?)
            .map(Value::from)
            .ok_or("no text".to_owned())
    }),
    ("trim", |args| {
        let set = text(&args, 1)?;
        on_text(&args, |text| text.trim_matches(|c| set.contains(c)).to_owned())
    }),
    ("trimprefix", |args| {
        let prefix = text(&args, 1)?;
        on_text(&args, |text| {
            text.strip_prefix(prefix.as_str()).unwrap_or(text).to_owned()
        })
    }),
    ("trimspace", |args| on_text(&args, |text| text.trim().to_owned())),
    ("trimsuffix", |args| {
        let suffix = text(&args, 1)?;
        on_text(&args, |text| {
            text.strip_suffix(suffix.as_str()).unwrap_or(text).to_owned()
        })
    }),
    ("try", |args| first(&args)),
    ("upper", |args| on_text(&args, str::to_uppercase)),
    ("urlencode", |args| {
        on_text(&args, |text| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        })
    }),
    ("values", |args| {
        Ok(object(&args, 0)?.into_iter().map(|(_, value)| value).collect())
    }),
];

/// Longest text that a function may make.
const LONGEST: usize = 64 * 1024;

fn bounded(text: String) -> Given {
    if text.len() > LONGEST {
        return Err("the text becomes too long".to_owned());
    }
    Ok(text.into())
}

/// A scalar as a text.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn first(args: &FuncArgs) -> Given {
    args.first()
        .cloned()
        .ok_or_else(|| "an argument is missing".to_owned())
}

fn text(args: &FuncArgs, at: usize) -> Result<String, String> {
    args.get(at)
        .and_then(scalar)
        .ok_or_else(|| format!("argument {} is no text", at + 1))
}

fn list(args: &FuncArgs, at: usize) -> Result<Vec<Value>, String> {
    args.get(at)
        .and_then(Value::as_array)
        .cloned()
        .ok_or_else(|| format!("argument {} is no list", at + 1))
}

fn object(args: &FuncArgs, at: usize) -> Result<Map<String, Value>, String> {
    args.get(at)
        .and_then(Value::as_object)
        .cloned()
        .ok_or_else(|| format!("argument {} is no map", at + 1))
}

fn on_text(args: &FuncArgs, change: impl Fn(&str) -> String) -> Given {
    bounded(change(&text(args, 0)?))
}

fn extreme(args: &FuncArgs, better: fn(f64, f64) -> bool) -> Given {
    let mut best = args.first().ok_or("nothing to compare")?;
    for value in args.iter() {
        let (new, old) = (
            value.as_f64().ok_or("no number")?,
            best.as_f64().ok_or("no number")?,
        );
        if better(new, old) {
            best = value;
        }
    }
    Ok(best.clone())
}

/// `%s`, `%d`, `%v`, `%q`, with a width and a leading zero (`%02d`).
fn format_text(args: &FuncArgs) -> Result<String, String> {
    let layout = text(args, 0)?;
    let mut result = String::new();
    let mut next = 1;
    let mut chars = layout.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            result.push(c);
            continue;
        }
        let mut width = String::new();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            width.push(digit);
        }
        match chars.next() {
            Some('%') => result.push('%'),
            Some(verb @ ('s' | 'd' | 'v' | 'q')) => {
                let value = text(args, next)?;
                next += 1;
                let wide: usize = width.parse().unwrap_or(0).min(64);
                let missing = wide.saturating_sub(value.chars().count());
                let filler = if width.starts_with('0') { "0" } else { " " };
                result.push_str(&filler.repeat(missing));
                if verb == 'q' {
                    result.push_str(&format!("{value:?}"));
                } else {
                    result.push_str(&value);
                }
            }
            other => return Err(format!("the verb %{width}{} is not known", other.unwrap_or(' '))),
        }
    }
    Ok(result)
}

/// HCL's date layout in Go's.
fn go_layout(layout: &str) -> String {
    const TOKENS: [(&str, &str); 16] = [
        ("YYYY", "2006"),
        ("YY", "06"),
        ("MMMM", "January"),
        ("MMM", "Jan"),
        ("MM", "01"),
        ("EEEE", "Monday"),
        ("EEE", "Mon"),
        ("DD", "02"),
        ("hh", "15"),
        ("HH", "03"),
        ("AA", "PM"),
        ("mm", "04"),
        ("ss", "05"),
        ("ZZZZ", "-0700"),
        ("ZZZ", "MST"),
        ("Z", "Z07:00"),
    ];
    let (mut result, mut rest) = (String::new(), layout);
    while let Some(c) = rest.chars().next() {
        match TOKENS.iter().find(|(token, _)| rest.starts_with(token)) {
            Some((token, go)) => {
                result.push_str(go);
                rest = &rest[token.len()..];
            }
            None => {
                // Quoted texts are themselves; nothing may end the action that this becomes part of.
                if !matches!(c, '\'' | '`' | '{' | '}') {
                    result.push(c);
                }
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    result
}
