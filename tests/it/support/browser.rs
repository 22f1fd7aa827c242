//! Headless Chromium, driven by its own protocol over a pipe: pages as people see them.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::npm;
use super::vm::wait_until;

/// Height of its window.
pub const HEIGHT: u32 = 800;

/// The protocol is spoken at descriptors 3 and 4.
const START: &str = "exec chromium \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";

/// What sticks out of the window, but for the marks of an axis, which is cut off at its end.
const OUTSIDE: &str = "(() => {
    const wide = document.documentElement.clientWidth;
    const out = [...document.querySelectorAll('body *')].filter(e => {
        const box = e.getBoundingClientRect();
        return box.width && !e.closest('.ticks') && (box.right > wide + 1 || box.left < -1);
    });
    const page = document.documentElement.scrollWidth > wide ? ['the page'] : [];
    return page.concat(out.map(e => e.outerHTML.slice(0, 200)));
})()";

/// A browser with one page; killed when dropped.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    calls: u64,
    session: Option<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new("sh")
            .args([
                "-c",
                START,
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
            ])
            .args([
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut browser = Self {
            to: child.stdin.take().unwrap(),
            from: BufReader::new(child.stdout.take().unwrap()),
            child,
            calls: 0,
            session: None,
            _profile: profile,
        };
        let page = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let target = json!({ "targetId": page["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", &target);
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        browser
    }

    /// Calls a method of the protocol.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{call}\0").as_bytes()).unwrap();
        loop {
            let mut answer = Vec::new();
            let read = self.from.read_until(0, &mut answer).unwrap();
            assert!(
                read > 0,
                "chromium ended before it answered {method}; `make setup` installs what the tests need"
            );
            answer.pop();
            let mut answer: Value = serde_json::from_slice(&answer).unwrap();
            // Everything else is an event.
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// Opens a file in a window so wide.
    pub fn open(&mut self, file: &Path, width: u32, scheme: &str) {
        let size = json!({ "width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let scheme = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": scheme }));
        let url = format!("file://{}", file.display());
        self.call("Page.navigate", &json!({ "url": url }));
        wait_until("the page", Duration::from_secs(60), || {
            self.ask("document.readyState === 'complete' && location.protocol === 'file:'") == true
        });
    }

    /// The value of an expression in the page.
    pub fn ask(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", &parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// What axe-core finds in the way of those who see, hear or use a page in another way: the rule, and each place.
    pub fn barriers(&mut self) -> Vec<String> {
        let axe = fs::read_to_string(npm::package("axe-core/axe.min.js")).unwrap();
        self.ask(&format!("(() => {{ {axe} }})(); null"));
        let found = "axe.run(document, { resultTypes: ['violations'] }).then(found => {
            if (found.passes.length < 10) throw new Error('axe looked at little');
            return found.violations.flatMap(rule => rule.nodes.map(node => rule.id + ': ' + node.html.slice(0, 200)));
        })";
        let parameters = json!({ "expression": found, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", &parameters);
        assert!(answer["exceptionDetails"].is_null(), "axe: {answer}");
        serde_json::from_value(answer["result"]["value"].take()).unwrap()
    }

    /// The value of an expression that gives texts.
    pub fn texts(&mut self, expression: &str) -> Vec<String> {
        serde_json::from_value(self.ask(expression)).unwrap()
    }

    /// What sticks out of the window.
    pub fn outside(&mut self) -> Vec<String> {
        self.texts(OUTSIDE)
    }

    /// What a screen reader is given: role and name of each thing on the page.
    pub fn spoken(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", &json!({}));
        let word = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        let nodes = tree["nodes"].as_array().unwrap().iter();
        let nodes = nodes.filter(|node| node["ignored"] != true);
        nodes
            .map(|node| (word(&node["role"]), word(&node["name"])))
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
