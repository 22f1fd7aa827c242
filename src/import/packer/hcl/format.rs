//! Values as texts: by themselves, by a layout (`format`), and the layouts of times.

use hcl::Value;

use crate::digest::hex;

/// A scalar as a text.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `%s`, `%d`, `%v`, `%q`, `%t`, `%x`, `%f`, with flags, a width and a precision (`%-5s`, `%02d`, `%5.1f`).
pub(super) fn format_text(args: &[Value]) -> Result<String, String> {
    let given = |at: usize| {
        let value = args.get(at).and_then(scalar);
        value.ok_or_else(|| format!("argument {} is no text", at + 1))
    };
    let layout = given(0)?;
    let mut result = String::new();
    let mut next = 1;
    let mut chars = layout.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            result.push(c);
            continue;
        }
        let mut words = [String::new(), String::new(), String::new()];
        for (word, fits) in words.iter_mut().zip([
            (|c: &char| matches!(c, '-' | '0' | '+' | ' ' | '#')) as fn(&char) -> bool,
            char::is_ascii_digit,
            |c: &char| *c == '.' || c.is_ascii_digit(),
        ]) {
            while let Some(c) = chars.next_if(fits) {
                word.push(c);
            }
        }
        let [flags, width, precision] = words;
        let decimals: usize = precision.trim_start_matches('.').parse().unwrap_or(6).min(64);
        let number = |text: &str| text.parse::<f64>().map_err(|_| format!("`{text}` is no number"));
        let verb = chars.next();
        let value = match verb {
            Some('%') => "%".to_owned(),
            Some('s' | 'd' | 'v' | 't') => given(next)?,
            Some('q') => format!("{:?}", given(next)?),
            Some('f') => format!("{:.decimals$}", number(&given(next)?)?),
            Some('x') => match given(next)?.parse::<i64>() {
                Ok(number) => format!("{number:x}"),
                Err(_) => hex(given(next)?.as_bytes()),
            },
            other => {
                let verb = other.unwrap_or(' ');
                return Err(format!("the verb %{flags}{width}{precision}{verb} is not known"));
            }
        };
        next += usize::from(verb != Some('%'));
        let wide: usize = width.parse().unwrap_or(0).min(64);
        let missing = wide.saturating_sub(value.chars().count());
        if flags.contains('-') {
            result.push_str(&value);
            result.push_str(&" ".repeat(missing));
        } else {
            result.push_str(&if flags.contains('0') { "0" } else { " " }.repeat(missing));
            result.push_str(&value);
        }
    }
    Ok(result)
}

/// HCL's date layout in Go's.
pub(super) fn go_layout(layout: &str) -> String {
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
