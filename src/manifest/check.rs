//! Cross-field rules.
