//! Arguments of functions, as what the functions need them as.

use hcl::Value;
use hcl::eval::FuncArgs;
use hcl::value::Map;

use super::format::scalar;

pub(super) type Given = Result<Value, String>;
pub(super) type Function = fn(FuncArgs) -> Given;

/// Longest text that a function may make.
pub(super) const LONGEST: usize = 64 * 1024;

pub(super) fn first(args: &FuncArgs) -> Given {
    args.first()
        .cloned()
        .ok_or_else(|| "an argument is missing".to_owned())
}

pub(super) fn text(args: &FuncArgs, at: usize) -> Result<String, String> {
    args.get(at)
        .and_then(scalar)
        .ok_or_else(|| format!("argument {} is no text", at + 1))
}

pub(super) fn whole(args: &FuncArgs, at: usize) -> Result<i64, String> {
    let number = args
        .get(at)
        .and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()));
    number.ok_or_else(|| format!("argument {} is no whole number", at + 1))
}

pub(super) fn list(args: &FuncArgs, at: usize) -> Result<Vec<Value>, String> {
    args.get(at)
        .and_then(Value::as_array)
        .cloned()
        .ok_or_else(|| format!("argument {} is no list", at + 1))
}

pub(super) fn object(args: &FuncArgs, at: usize) -> Result<Map<String, Value>, String> {
    args.get(at)
        .and_then(Value::as_object)
        .cloned()
        .ok_or_else(|| format!("argument {} is no map", at + 1))
}

pub(super) fn on_text(args: &FuncArgs, change: impl Fn(&str) -> String) -> Given {
    bounded(change(&text(args, 0)?))
}

pub(super) fn bounded(text: String) -> Given {
    if text.len() > LONGEST {
        return Err("the text becomes too long".to_owned());
    }
    Ok(text.into())
}
