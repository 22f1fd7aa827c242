//! Keys: SHA-256 over the canonical JSON of everything that a node's result depends on. What is not in the JSON cannot
//! cause a rebuild; what is in it can be shown as the reason for one.

use serde_json::{Map, Value};

use crate::digest::sha256_hex;

/// The key of a node with these inputs.
pub fn of(inputs: &Value) -> String {
    sha256_hex(canonical(inputs).to_string().as_bytes())
}

/// The same value with every object's members in order of their names.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut names: Vec<_> = members.keys().collect();
            names.sort();
            let sorted: Map<_, _> = names
                .into_iter()
                .map(|name| (name.clone(), canonical(&members[name])))
                .collect();
            Value::Object(sorted)
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_members_does_not_matter_and_that_of_items_does() {
        assert_eq!(
            of(&json!({"a": 1, "b": [1, 2]})),
            of(&json!({"b": [1, 2], "a": 1}))
        );
        assert_ne!(of(&json!({"b": [1, 2]})), of(&json!({"b": [2, 1]})));
    }
}
