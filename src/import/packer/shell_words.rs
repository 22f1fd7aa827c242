//! A line cut into words as a shell does it.

/// Words without their quotes and without comments. `apart`: characters that are words by themselves.
pub fn shell_words(text: &str, apart: &[char]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
    let mut in_comment = false;
    for c in text.chars() {
        match (quote, c) {
            _ if in_comment => in_comment = c != '\n',
            (Some(end), c) if c == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => in_comment = true,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) if apart.contains(&c) => {
                words.extend(word.take());
                words.push(c.to_string());
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_commands() {
        assert_eq!(
            shell_words(
                "packer build -var 'a=b c' -var=\"d=1\" x.json>>log; echo # no",
                &['>', ';']
            ),
            [
                "packer", "build", "-var", "a=b c", "-var=d=1", "x.json", ">", ">", "log", ";", "echo"
            ]
        );
        assert_eq!(
            shell_words("user --gecos \"Ann #1\" # comment\nnext", &[]),
            ["user", "--gecos", "Ann #1", "next"]
        );
    }
}
