//! Paths as text, without looking at the disk: joined, made plain, and relative to another folder.

/// Parts without `.` and with `..` taken where it can be.
pub fn plain(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    let text = parts.join("/");
    match (absolute, text.is_empty()) {
        (true, _) => format!("/{text}"),
        (false, true) => ".".to_owned(),
        (false, false) => text,
    }
}

/// `path` as seen from `folder`.
pub fn join(folder: &str, path: &str) -> String {
    if path.starts_with('/') {
        plain(path)
    } else {
        plain(&format!("{folder}/{path}"))
    }
}

pub fn folder(path: &str) -> String {
    match path.rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((folder, _)) => folder.to_owned(),
        None => ".".to_owned(),
    }
}

/// The last part of a path.
pub fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The last part without what follows its last dot.
pub fn stem(path: &str) -> &str {
    let name = name(path);
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}

/// A name that can be part of file names.
pub fn plain_name(name: &str) -> String {
    let fits = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            c
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(fits).take(80).collect();
    let name = name.trim_matches(['.', '_', '-']);
    if name.is_empty() {
        "system".to_owned()
    } else {
        name.to_owned()
    }
}

/// How `folder` would name `path`; both absolute. Never leaves out a step up that it needs.
pub fn relative(folder: &str, path: &str) -> String {
    let (folder, path) = (plain(folder), plain(path));
    if !folder.starts_with('/') || !path.starts_with('/') {
        return path;
    }
    let split = |text: &str| -> Vec<String> {
        text.split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (from, to) = (split(&folder), split(&path));
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| "..".to_owned());
    let parts: Vec<_> = up.chain(to[shared..].iter().cloned()).collect();
    if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_a_folder() {
        assert_eq!(plain("./a//b/../c"), "a/c");
        assert_eq!(plain("/../a"), "/a");
        assert_eq!(plain("../../a"), "../../a");
        assert_eq!(join("/w/t", "../scripts/x.sh"), "/w/scripts/x.sh");
        assert_eq!(relative("/w/out", "/w/scripts/x.sh"), "../scripts/x.sh");
        assert_eq!(relative("/w", "/w/x"), "x");
        assert_eq!(
            (folder("a/b"), folder("b"), folder("/b")),
            ("a".into(), ".".into(), "/".into())
        );
    }
}
