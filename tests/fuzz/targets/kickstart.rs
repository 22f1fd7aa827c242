//! Kickstart files of any shape: what is kept of one is a template that can be compiled, and asks for nothing but what the
//! built-in one knows and what has to be decided.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::internals::import::packer::answers;

fuzz_target!(|text: &str| {
    let Some(template) = answers("anaconda", text, "kickstart.cfg.j2") else {
        return;
    };
    let environment = minijinja::Environment::new();
    let compiled = environment.template_from_str(&template);
    let compiled = compiled.unwrap_or_else(|error| panic!("{error}\n{template}"));
    for name in compiled.undeclared_variables(false) {
        let is_known = name == "super" || name == "build_key" || name.starts_with("todo_");
        assert!(is_known, "asks for {name}\n{template}");
    }
});
