//! Packer's HCL functions, as far as templates use them. None makes a value much larger than its arguments. What only a
//! build knows (time, environment) becomes an action of Packer's text templates, resolved where the text is used.
//!
//! Names and meanings are those of Packer's documentation ("Functions").

use hcl::Value;
use hcl::eval::{Context, FuncArgs, FuncDef, ParamType};
use hcl::value::Map;
use regex::{Captures, Regex, RegexBuilder};

use super::arguments::{Function, Given, LONGEST, bounded, first, list, object, on_text, text};
use super::format::{format_text, go_layout, scalar};
use super::{encoded, network};
use crate::import::packer::times;

/// Longest list of numbers.
pub(super) const MOST_NUMBERS: usize = LONGEST / 64;

/// Declares all of them.
pub fn declare(context: &mut Context<'_>) {
    for (name, function) in FUNCTIONS
        .iter()
        .chain(encoded::FUNCTIONS)
        .chain(network::FUNCTIONS)
    {
        let mut def = FuncDef::builder();
        def = def.variadic_param(ParamType::Any);
        context.declare_func(hcl::Identifier::sanitized(name), def.build(*function));
    }
}

const FUNCTIONS: &[(&str, Function)] = &[
    ("abs", |args| on_number(&args, f64::abs)),
    ("abspath", |args| first(&args)),
    ("alltrue", |args| Ok(list(&args, 0)?.iter().all(is_true).into())),
    ("anytrue", |args| Ok(list(&args, 0)?.iter().any(is_true).into())),
    ("basename", |args| {
        on_text(&args, |text| {
            text.rsplit('/').next().unwrap_or_default().to_owned()
        })
    }),
    ("bcrypt", |_| Ok("{{pipeline_secret}}".into())),
    ("can", |_| Ok(true.into())),
    ("ceil", |args| on_number(&args, f64::ceil)),
    ("chunklist", |args| {
        let size = args
            .get(1)
            .and_then(Value::as_u64)
            .and_then(|n| usize::try_from(n).ok());
        let size = size.filter(|size| *size > 0).ok_or("no size")?;
        Ok(list(&args, 0)?
            .chunks(size)
            .map(|part| Value::from(part.to_vec()))
            .collect())
    }),
    ("chomp", |args| {
        on_text(&args, |text| text.trim_end_matches(['\n', '\r']).to_owned())
    }),
    ("coalesce", |args| {
        args.iter()
            .find(|v| !v.is_null() && v.as_str() != Some(""))
            .cloned()
            .ok_or("nothing is set".to_owned())
    }),
    ("coalescelist", |args| {
        let found = args
            .iter()
            .find(|list| list.as_array().is_some_and(|list| !list.is_empty()));
        found.cloned().ok_or("all lists are empty".to_owned())
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
    ("endswith", |args| {
        Ok(text(&args, 0)?.ends_with(&text(&args, 1)?).into())
    }),
    ("env", |args| {
        Ok(format!("{{{{env `{}`}}}}", text(&args, 0)?.replace('`', "")).into())
    }),
    ("file", |_| Err(NOT_HERE.to_owned())),
    ("fileexists", |_| Err(NOT_HERE.to_owned())),
    ("fileset", |_| Err(NOT_HERE.to_owned())),
    ("flatten", |args| {
        Ok(list(&args, 0)?
            .into_iter()
            .flat_map(|item| match item {
                Value::Array(items) => items,
                other => vec![other],
            })
            .collect())
    }),
    ("floor", |args| on_number(&args, f64::floor)),
    ("format", |args| format_text(&args.to_vec()).map(Value::from)),
    ("formatdate", |args| {
        let layout = go_layout(&text(&args, 0)?);
        match text(&args, 1)?.as_str() {
            NOW => Ok(format!("{{{{isotime `{layout}`}}}}").into()),
            time => Ok(times::time(times::seconds(time)?, &layout).0.into()),
        }
    }),
    ("formatlist", |args| {
        let lists = args.iter().filter_map(Value::as_array).map(Vec::len);
        let count = lists.max().unwrap_or(1);
        let row = |at: usize| -> Result<Value, String> {
            let cell = |value: &Value| match value {
                Value::Array(items) => items
                    .get(at)
                    .cloned()
                    .ok_or("lists of different lengths".to_owned()),
                other => Ok(other.clone()),
            };
            format_text(&args.iter().map(cell).collect::<Result<Vec<_>, _>>()?).map(Value::from)
        };
        (0..count)
            .map(row)
            .collect::<Result<Vec<_>, _>>()
            .map(Value::from)
    }),
    ("indent", |args| {
        let wide = args.first().and_then(Value::as_u64).ok_or("no number")?.min(256);
        let blanks = format!("\n{}", " ".repeat(usize::try_from(wide).unwrap_or_default()));
        bounded(text(&args, 1)?.replace('\n', &blanks))
    }),
    ("index", |args| {
        let wanted = args.get(1).ok_or("nothing to look for")?;
        let found = list(&args, 0)?.iter().position(|item| item == wanted);
        found.map(Value::from).ok_or("not in the list".to_owned())
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
    ("matchkeys", |args| {
        let (values, keys, wanted) = (list(&args, 0)?, list(&args, 1)?, list(&args, 2)?);
        let pairs = values.into_iter().zip(keys);
        Ok(pairs
            .filter(|(_, key)| wanted.contains(key))
            .map(|(value, _)| value)
            .collect())
    }),
    ("max", |args| extreme(&args, |a, b| a > b)),
    ("merge", |args| {
        let mut merged = Map::new();
        for at in 0..args.len() {
            merged.extend(object(&args, at)?);
        }
        Ok(Value::Object(merged))
    }),
    ("min", |args| extreme(&args, |a, b| a < b)),
    ("one", |args| match list(&args, 0)?.as_slice() {
        [] => Ok(Value::Null),
        [one] => Ok(one.clone()),
        _ => Err("more than one".to_owned()),
    }),
    ("packerversion", |_| Ok("1.11.0".into())),
    ("parseint", |args| {
        let base = args
            .get(1)
            .and_then(Value::as_u64)
            .filter(|base| (2..=36).contains(base));
        let base = u32::try_from(base.unwrap_or(10)).unwrap_or(10);
        i64::from_str_radix(&text(&args, 0)?, base)
            .map(Value::from)
            .map_err(|e| e.to_string())
    }),
    ("pathexpand", |args| first(&args)),
    ("pow", |args| {
        let number = |at: usize| args.get(at).and_then(Value::as_f64).ok_or("no number");
        Ok(self::number(number(0)?.powf(number(1)?)))
    }),
    ("range", |args| {
        let numbers: Option<Vec<i64>> = args.iter().map(Value::as_i64).collect();
        let (start, end, step) = match numbers.unwrap_or_default().as_slice() {
            [end] => (0, *end, 1),
            [start, end] => (*start, *end, 1),
            [start, end, step] if *step > 0 => (*start, *end, *step),
            _ => return Err("only upwards, in whole numbers".to_owned()),
        };
        let step = usize::try_from(step).map_err(|e| e.to_string())?;
        Ok((start..end)
            .step_by(step)
            .take(MOST_NUMBERS)
            .map(Value::from)
            .collect())
    }),
    ("regex", |args| {
        let (pattern, whole) = (pattern(&args, 0)?, text(&args, 1)?);
        let found = pattern.captures(&whole).ok_or("nothing matches")?;
        Ok(captured(&pattern, &found))
    }),
    ("regexall", |args| {
        let (pattern, whole) = (pattern(&args, 0)?, text(&args, 1)?);
        Ok(pattern
            .captures_iter(&whole)
            .map(|found| captured(&pattern, &found))
            .collect())
    }),
    ("regex_replace", |args| {
        let pattern = pattern(&args, 1)?;
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
    ("setintersection", |args| {
        let mut kept = list(&args, 0)?;
        for at in 1..args.len() {
            let other = list(&args, at)?;
            kept.retain(|item| other.contains(item));
        }
        Ok(kept.into())
    }),
    ("setunion", |args| {
        let lists: Result<Vec<_>, _> = (0..args.len()).map(|at| list(&args, at)).collect();
        let mut seen: Vec<Value> = Vec::new();
        for item in lists?.into_iter().flatten() {
            if !seen.contains(&item) {
                seen.push(item);
            }
        }
        Ok(seen.into())
    }),
    ("signum", |args| {
        on_number(&args, |number| if number == 0.0 { 0.0 } else { number.signum() })
    }),
    ("slice", |args| {
        let items = list(&args, 0)?;
        let number = |at: usize| {
            args.get(at)
                .and_then(Value::as_u64)
                .and_then(|n| usize::try_from(n).ok())
        };
        let (start, end) = (number(1).ok_or("no start")?, number(2).ok_or("no end")?);
        let part = items.get(start..end).ok_or("no such part of the list")?;
        Ok(part.to_vec().into())
    }),
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
    ("startswith", |args| {
        Ok(text(&args, 0)?.starts_with(&text(&args, 1)?).into())
    }),
    ("strcontains", |args| {
        Ok(text(&args, 0)?.contains(&text(&args, 1)?).into())
    }),
    ("strrev", |args| {
        on_text(&args, |text| text.chars().rev().collect())
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
    ("sum", |args| {
        let numbers: Option<Vec<f64>> = list(&args, 0)?.iter().map(Value::as_f64).collect();
        Ok(number(numbers.ok_or("not only numbers")?.iter().sum()))
    }),
    ("templatefile", |_| Err(NOT_HERE.to_owned())),
    ("timeadd", |args| {
        let sum = times::seconds(&text(&args, 0)?)?.checked_add(times::signed(&text(&args, 1)?)?);
        Ok(times::time(sum.ok_or("no such time")?, times::RFC3339).0.into())
    }),
    ("timestamp", |_| Ok(NOW.into())),
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
    ("uuidv4", |_| Ok("{{pipeline_uuid}}".into())),
    ("values", |args| {
        Ok(object(&args, 0)?.into_iter().map(|(_, value)| value).collect())
    }),
    ("zipmap", |args| {
        let names: Result<Vec<_>, _> = list(&args, 0)?
            .iter()
            .map(|name| scalar(name).ok_or("no name"))
            .collect();
        Ok(Value::Object(names?.into_iter().zip(list(&args, 1)?).collect()))
    }),
];

/// What `timestamp()` stands for in a text.
const NOW: &str = "{{isotime `2006-01-02T15:04:05Z`}}";
/// Functions that read files are evaluated before their loops are.
const NOT_HERE: &str = "files are not read within loops";

fn on_number(args: &FuncArgs, change: fn(f64) -> f64) -> Given {
    let given = args.first().and_then(Value::as_f64).ok_or("no number")?;
    Ok(number(change(given)))
}

/// A number, a whole one where it is.
#[expect(clippy::cast_possible_truncation, reason = "what is cut is compared")]
#[expect(clippy::cast_precision_loss, reason = "what is lost is compared")]
fn number(given: f64) -> Value {
    let whole = given as i64;
    if whole as f64 == given {
        whole.into()
    } else {
        given.into()
    }
}

fn is_true(value: &Value) -> bool {
    scalar(value).as_deref() == Some("true")
}

fn pattern(args: &FuncArgs, at: usize) -> Result<Regex, String> {
    RegexBuilder::new(&text(args, at)?)
        .size_limit(1 << 20)
        .build()
        .map_err(|e| e.to_string())
}

/// What a pattern found: the whole, or its groups, by name where they have one.
fn captured(pattern: &Regex, found: &Captures<'_>) -> Value {
    let group = |at: usize| found.get(at).map_or(Value::Null, |part| part.as_str().into());
    let names: Vec<_> = pattern.capture_names().skip(1).collect();
    match names.first() {
        None => group(0),
        Some(None) => (1..=names.len()).map(group).collect(),
        Some(Some(_)) => {
            let named = names.iter().enumerate();
            Value::Object(
                named
                    .filter_map(|(at, name)| Some(((*name)?.to_owned(), group(at + 1))))
                    .collect(),
            )
        }
    }
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
