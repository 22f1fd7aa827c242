//! Makefiles: the commands of a goal, as far as they are known without running anything.

use std::cell::Cell;
use std::collections::BTreeMap;

/// Variables name each other this deep.
const DEEPEST: usize = 16;
/// Bytes that all variables may make.
const MOST_MADE: usize = 1 << 20;
/// Goals, and their commands.
const MOST: usize = 1000;

/// A Makefile.
#[derive(Debug, Default)]
pub struct Makefile {
    /// Bytes that variables have made.
    made: Cell<usize>,
    /// Variables, as written.
    vars: BTreeMap<String, String>,
    /// Those that commands have in their environment.
    exported: Vec<String>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    target: String,
    needs: String,
    commands: Vec<String>,
}

impl Makefile {
    /// Reads one. `given`: variables of the command line, which count more.
    pub fn read(text: &str, given: &[(String, String)]) -> Self {
        let mut made = Self::default();
        let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
        // Rules that the last line began.
        let mut open = 0;
        for line in joined.lines() {
            if let Some(command) = line.strip_prefix('\t') {
                let start = made.rules.len() - open;
                for rule in &mut made.rules[start..] {
                    rule.commands.push(command.trim().to_owned());
                }
                continue;
            }
            let line = line.split(" #").next().unwrap_or_default().trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (line, is_exported) = match line.strip_prefix("export ") {
                Some(rest) => (rest.trim(), true),
                None => (line, false),
            };
            if let Some((name, value)) = assignment(line) {
                if is_exported {
                    made.exported.push(name.to_owned());
                }
                let name = name.to_owned();
                if line.contains("+=") {
                    let known = made.vars.entry(name).or_default();
                    *known = format!("{known} {value}").trim().to_owned();
                } else if !line.contains("?=") || !made.vars.contains_key(&name) {
                    made.vars.insert(name, value.to_owned());
                }
                open = 0;
            } else if is_exported {
                made.exported.extend(line.split_whitespace().map(str::to_owned));
            } else if let Some((targets, rest)) = line.split_once(':') {
                let (needs, command) = rest.split_once(';').unwrap_or((rest, ""));
                let needs = needs.trim_start_matches(':').replace('|', " ");
                let targets = made.expanded(targets, &[], 0);
                let before = made.rules.len();
                for target in targets.split_whitespace().take(MOST) {
                    made.rules.push(Rule {
                        target: target.to_owned(),
                        needs: needs.clone(),
                        commands: Some(command.trim().to_owned())
                            .into_iter()
                            .filter(|one| !one.is_empty())
                            .collect(),
                    });
                }
                open = made.rules.len() - before;
            }
        }
        made.vars.extend(given.iter().cloned());
        made
    }

    /// Exported variables that have a name with this start, without it.
    pub fn exported(&self, start: &str) -> Vec<(String, String)> {
        let named = self.exported.iter().filter_map(|name| {
            let value = self.vars.get(name)?;
            Some((name.strip_prefix(start)?.to_owned(), self.expanded(value, &[], 0)))
        });
        named.collect()
    }

    /// The commands of a goal (nothing: the first one), those of what it depends on before them.
    pub fn commands(&self, goal: Option<&str>) -> Vec<String> {
        let first = self
            .rules
            .iter()
            .find(|rule| !rule.target.starts_with('.') && !rule.target.contains('%'));
        let mut commands = Vec::new();
        if let Some(goal) = goal.or(first.map(|rule| rule.target.as_str())) {
            self.add(goal, &mut Vec::new(), &mut commands);
        }
        commands
    }

    fn add(&self, goal: &str, seen: &mut Vec<String>, commands: &mut Vec<String>) {
        if seen.iter().any(|known| known == goal) || seen.len() >= MOST || commands.len() >= MOST {
            return;
        }
        seen.push(goal.to_owned());
        let own: Vec<_> = self.rules.iter().filter(|rule| rule.target == goal).collect();
        let of_pattern = |rule: &&Rule| stem(&rule.target, goal).is_some();
        let rules = match own.iter().all(|rule| rule.commands.is_empty()) {
            true => own
                .into_iter()
                .chain(self.rules.iter().find(of_pattern))
                .collect(),
            false => own,
        };
        for rule in rules {
            let stem = stem(&rule.target, goal).unwrap_or_default();
            let needs = self.expanded(&rule.needs, &[], 0).replace('%', stem);
            let needs: Vec<_> = needs.split_whitespace().map(str::to_owned).collect();
            for need in &needs {
                self.add(need, seen, commands);
            }
            let first = needs.first().cloned().unwrap_or_default();
            let all = needs.join(" ");
            let own = [
                ('@', goal),
                ('<', first.as_str()),
                ('^', all.as_str()),
                ('*', stem),
            ];
            for command in &rule.commands {
                let command = self.expanded(command, &own, 0);
                commands.push(command.trim_start_matches(['@', '-', '+', ' ']).to_owned());
            }
        }
    }

    /// A text with its variables filled in; functions stay as they are.
    fn expanded(&self, text: &str, own: &[(char, &str)], depth: usize) -> String {
        let (mut made, mut rest) = (String::new(), text);
        while let Some(at) = rest.find('$') {
            made.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let Some(c) = rest.chars().next() else { break };
            let end = match c {
                '(' => rest.find(')'),
                '{' => rest.find('}'),
                _ => None,
            };
            let name = end.map_or(&rest[..c.len_utf8()], |end| &rest[1..end]);
            let after = end.map_or(c.len_utf8(), |end| end + 1);
            let value = self.vars.get(name).map(String::as_str);
            let costs = self.made.get() + value.map_or(0, str::len) + 1;
            match own.iter().find(|(known, _)| name.len() == 1 && *known == c) {
                Some((_, value)) => made.push_str(value),
                None if c == '$' => made.push('$'),
                None if name == "MAKE" => made.push_str("make"),
                None if value.is_some() && depth < DEEPEST && costs < MOST_MADE => {
                    self.made.set(costs);
                    made.push_str(&self.expanded(value.unwrap_or_default(), own, depth + 1));
                }
                None => {
                    made.push('$');
                    made.push_str(&rest[..after]);
                }
            }
            rest = &rest[after..];
        }
        made + rest
    }
}

/// Name and value of an assignment, whichever kind it is.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end_matches([':', '?', '+', '!']).trim();
    let is_name = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == ':' || c == '$');
    is_name.then(|| (name, value.trim()))
}

/// What `%` of a pattern stands for.
fn stem<'g>(pattern: &str, goal: &'g str) -> Option<&'g str> {
    let (start, end) = pattern.split_once('%')?;
    goal.strip_prefix(start)?.strip_suffix(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_goals() {
        let text = "# images\nPACKER ?= packer\nFLAGS = -force\nFLAGS += -var size=$(SIZE)\nexport PKR_VAR_user := $(USER_)\nUSER_ = ann\n\
                    SIZE = 10G\n\n.PHONY: all\nall: red.img sub ; @echo $$HOME\n\n%.img: %.json base\n\t@$(PACKER) build $(FLAGS) \\\n\t  $<\n\
                    \t-touch $@ $*\nbase:\nsub: ; $(MAKE) -C sub $(shell date)\n";
        let made = Makefile::read(text, &[("SIZE".to_owned(), "20G".to_owned())]);
        assert_eq!(
            made.commands(None),
            [
                "packer build -force -var size=20G  \t  red.json",
                "touch red.img red",
                "make -C sub $(shell date)",
                "echo $HOME",
            ]
        );
        assert_eq!(made.commands(Some("x.img")).len(), 2);
        assert_eq!(made.exported("PKR_VAR_"), [("user".to_owned(), "ann".to_owned())]);
        // Names that name each other end.
        let circle = Makefile::read("A = $(B)$(B)\nB = $(A)$(A)\nx: y\n\techo $(A)\ny: x\n", &[]);
        assert!(circle.commands(None)[0].len() < MOST_MADE);
    }
}
