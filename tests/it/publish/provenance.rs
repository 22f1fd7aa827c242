//! How images were made, published next to them: read and verified by other programs.

use serde_json::Value;

use super::sbom::provisioned;
use super::{LARGE, SMALL, bench, file, manifest, noise, package, says, well};
use crate::support::python::python;
use crate::support::shelf::Shelf;
use crate::support::{Bench, tool};

/// The published forms of statement and predicate, and a verifier of envelopes.
const JUDGES: &str = "securesystemslib[crypto]==1.3.0 in-toto-attestation==0.9.3";
const JUDGE: &str = "
import base64, hashlib, json, sys
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
def ed25519(keyid, key):
    return SSlibKey(keyid, 'ed25519', 'ed25519', {'public': key.hex()})
minisign = base64.b64decode(open('keys/minisign.pub').read().splitlines()[1])
ssh = base64.b64decode(open('keys/ssh.pub').read().split()[1])
fingerprint = base64.b64encode(hashlib.sha256(ssh).digest()).decode().rstrip('=')
keys = [ed25519('SHA256:' + fingerprint, ssh[-32:]), ed25519(minisign[9:1:-1].hex().upper(), minisign[10:])]
[line] = open(sys.argv[1]).read().splitlines()
envelope = Envelope.from_dict(json.loads(line))
assert envelope.payload_type == 'application/vnd.in-toto+json'
assert len(envelope.verify(keys, 2)) == 2
statement = json.loads(envelope.payload)
assert statement['predicateType'] == 'https://slsa.dev/provenance/v1'
Statement.copy_from_pb(json_format.ParseDict(statement, statement_pb2.Statement())).validate()
json_format.ParseDict(statement['predicate'], provenance_pb2.Provenance())
print(json.dumps(statement))
";

fn judged(bench: &Bench, name: &str) -> Value {
    let judge = python(JUDGES)
        .args(["-c", JUDGE, name])
        .current_dir(bench.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&judge.stderr);
    assert!(judge.status.success(), "{said}");
    serde_json::from_slice(&judge.stdout).unwrap()
}

fn sha256(bench: &Bench, name: &str) -> String {
    let said = tool("sha256sum", &[name], &bench.path(""));
    said.split(' ').next().unwrap().to_owned()
}

#[test]
fn images_say_what_they_were_made_of_and_other_programs_verify_it() {
    const PUBLISH: &str = "[publish]\nsbom = [\"spdx\"]\nprovenance = true\nsign = [\n\
        { ssh = { file = \"keys/ssh\" } },\n{ minisign = { file = \"keys/minisign.key\" } },\n]\n\
        [publish.directory]\npath = \"share\"\n";
    let bench = bench("", 10_000);
    well(&bench.run(&["run", "m.toml"]));
    let plain = bench.read("out/SHA512SUM.txt");
    std::fs::create_dir(bench.path("share")).unwrap();
    std::fs::create_dir(bench.path("keys")).unwrap();
    let keys = bench.path("keys");
    tool(
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-f", "ssh"],
        &keys,
    );
    tool(
        "minisign",
        &["-G", "-W", "-p", "minisign.pub", "-s", "minisign.key"],
        &keys,
    );
    bench.write("m.toml", manifest(PUBLISH));
    provisioned(&bench);
    well(&bench.run(&["run", "m.toml", "--upload"]));
    for line in plain.lines() {
        assert!(
            bench.read("out/SHA512SUM.txt").contains(line),
            "lines of images stay"
        );
    }

    // Each file that is published with the image, and each input of it.
    let name = format!("out/{}.intoto.jsonl", file(SMALL));
    assert_eq!(bench.read(&name), bench.read(&name.replace("out", "share")));
    let statement = judged(&bench, &name);
    let subjects = statement["subject"].as_array().unwrap();
    let files: Vec<_> = subjects
        .iter()
        .map(|file| file["name"].as_str().unwrap())
        .collect();
    assert_eq!(files, [file(SMALL), format!("{}.spdx.json", file(SMALL))]);
    for subject in subjects {
        let file = format!("out/{}", subject["name"].as_str().unwrap());
        assert_eq!(subject["digest"]["sha256"], sha256(&bench, &file));
    }
    let definition = &statement["predicate"]["buildDefinition"];
    let of = |name: &str| {
        let inputs = definition["resolvedDependencies"].as_array().unwrap();
        let input = inputs.iter().find(|input| input["name"] == name);
        input.unwrap_or_else(|| panic!("no {name} in {inputs:#?}"))["digest"]["sha256"].clone()
    };
    assert_eq!(of("medium: base.qcow2"), sha256(&bench, "base.qcow2"));
    bench.write("script", "true");
    assert_eq!(of("step nothing: inline"), sha256(&bench, "script"));
    let nodes = &definition["internalParameters"]["nodes"];
    let plan = bench.run(&["plan", "m.toml", "--format", "json"]);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    for id in ["provision/debian12-base".to_owned(), format!("package/{SMALL}")] {
        let mut planned = plan["nodes"].as_array().unwrap().iter();
        let planned = planned.find(|node| node["id"] == id.as_str()).unwrap();
        assert_eq!(nodes[&id]["key"], planned["key"]);
    }
    assert_eq!(definition["externalParameters"]["id"], SMALL);

    // Equal builds say the same; one of other bytes says something else.
    says(&bench.run(&["run", "m.toml"]), &["nothing to do"]);
    let first = bench.read(&name);
    std::fs::remove_dir_all(bench.path("store/results/provenance")).unwrap();
    well(&bench.run(&["run", "m.toml"]));
    assert_eq!(bench.read(&name), first);
    package(&bench, SMALL, &noise(10_000, 7));
    well(&bench.run(&["run", "m.toml"]));
    let again = judged(&bench, &name);
    assert_eq!(
        again["subject"][0]["digest"]["sha256"],
        sha256(&bench, &format!("out/{}", file(SMALL)))
    );
    assert!(bench.path(&format!("out/{}.intoto.jsonl", file(LARGE))).is_file());
    let verified = bench.run(&["verify", "out", "--key", "keys/ssh.pub", "keys/minisign.pub"]);
    // What is published is the build before.
    assert_eq!(verified.code, 1, "{}", verified.all());
    assert!(
        verified.stdout.contains("another build of it is published"),
        "{}",
        verified.all()
    );
}

#[test]
fn what_a_list_said_of_a_medium_is_in_the_lock_and_in_the_statement_and_no_password_is() {
    let bench = bench("", 10);
    let shelf = Shelf::start();
    let listed = |text: &str| {
        bench.write("medium", text);
        shelf.put(
            "/SHA256SUMS",
            format!("{}  base.qcow2\n", sha256(&bench, "medium")).as_bytes(),
        );
    };
    listed("the medium of today");
    let url = shelf.url("/").replace("http://", "http://user:s3cret@");
    let source = format!("disk = {{ url = \"{url}base.qcow2\", checksums = \"{url}SHA256SUMS\" }}");
    let text = manifest("[publish]\nprovenance = true\n[publish.directory]\npath = \"share\"\n");
    bench.write(
        "m.toml",
        text.replace("disk = { path = \"base.qcow2\" }", &source),
    );
    std::fs::create_dir(bench.path("share")).unwrap();
    well(&bench.run(&["update", "m.toml"]));
    package(&bench, SMALL, &noise(10, 3));
    well(&bench.run(&["run", "m.toml", "--upload", "--size", "3G"]));

    let envelope: Value =
        serde_json::from_str(&bench.read(&format!("out/{}.intoto.jsonl", file(SMALL)))).unwrap();
    assert_eq!(
        envelope["signatures"],
        Value::Array(Vec::new()),
        "there is no signer"
    );
    bench.write("payload", envelope["payload"].as_str().unwrap());
    let statement: Value =
        serde_json::from_str(&tool("base64", &["-d", "payload"], &bench.path(""))).unwrap();
    let inputs = &statement["predicate"]["buildDefinition"]["resolvedDependencies"];
    assert_eq!(inputs[0]["name"], "medium: base.qcow2");
    assert_eq!(inputs[0]["digest"]["sha256"], sha256(&bench, "medium"));
    assert_eq!(
        inputs[0]["annotations"]["signedBy"],
        Value::Array(Vec::new()),
        "no keyring was given"
    );
    assert_eq!(inputs[1]["name"], "lock: m.lock");
    for published in [statement.to_string(), bench.read("out/index.json")] {
        assert!(!published.contains("s3cret"), "{published}");
    }

    let verify = ["verify", "out", "--lock", "m.lock"];
    let good = bench.run(&verify);
    well(&good);
    assert!(
        good.stdout.contains("the state that the lock has"),
        "{}",
        good.all()
    );
    listed("the medium of tomorrow");
    well(&bench.run(&["update", "m.toml"]));
    let moved = bench.run(&verify);
    assert_eq!(moved.code, 1, "{}", moved.all());
    assert!(
        moved
            .stdout
            .contains("debian12 was built from another state than the lock has"),
        "{}",
        moved.all()
    );
}
