//! `[publish]` and `[publish.*]`: the form of images, and where they go.

use super::super::key::Kind;
use super::super::row::{Choice, In, List, Named, Var, Whole};
use super::super::text::{BaseUrl, Bucket, ListKey, Name, ObjectPrefix, Text, TextForm};
use super::SecretKeys;
use crate::digest::Algorithm;
use crate::manifest::model::{Compression, DiskFormat};
use crate::manifest::target::{TargetKind, Verify};
use crate::syntax::table::{one_of, table};

table! {
    PUBLISH: PublishKeys = "publish", "In which form images appear, and where they are published",
        "{ compress = \"zstd\" }", others (Name::FORM, Kind::Table("target"));
    format: Choice<DiskFormat> = "\"qcow2\"", "format of the disk".default("\"qcow2\"");
    compress: Choice<Compression> = "\"zstd\"", "how the file is compressed".default("\"gzip\"");
    level: Whole<u32, 0, 19> = "6",
        "level of the compression: 1 to 9 for gzip, 1 to 19 for zstd, 0 to 9 for xz"
        .default("the compressor's usual one");
    checksums: List<Choice<Algorithm>> = "[\"sha512\"]", "checksum files next to the images"
        .default("[\"sha512\", \"md5\"]");
    file: Text = "\"{{ id }}.{{ format }}{{ suffix }}\"",
        "path of each image below the output folder (a template)"
        .default("\"{{ id }}/{{ id }}.{{ format }}{{ suffix }}\"");
}

// What all places have, and what most of them have: no tables, but parts of such.
table! {
    TARGET: TargetKeys = "target", "A place to publish to", "{ to = \"directory\", path = \"/srv/images\" }";
    to: Choice<TargetKind> = "\"directory\"",
        "what kind of place it is; a table with the name of a kind needs no `to`"
        .written("to = \"directory\"  # or \"shacache\", \"http\", \"s3\"");
    verify: Choice<Verify> = "\"full\"",
        "`\"full\"` reads every byte back and compares its SHA-512, `\"head\"` only asks for the size"
        .default("\"full\"");
}

table! {
    WORLD: WorldKeys = "world", "Where the world reads", "{ }";
    public_url: BaseUrl = "\"https://images.example\"",
        "base of the URLs that the world uses, where they are other ones than those we write to; `check-urls` then reads those, without credentials";
}

table! {
    SHACACHE: ShacacheKeys = "target_shacache", "A shacache with its shadir", "{ to = \"shacache\" }",
        parts [TargetKeys, ShacacheKeys], is "shacache";
    config: Text = "\"/etc/opt/shacache/shacache.cfg\"", "its configuration, as `networkcache-upload` reads it"
        .default("\"/etc/opt/shacache/shacache.cfg\"");
    key: ListKey = "\"packer-images\"", "key of the shadir that images are listed under"
        .default("\"packer-images\"");
    metadata: Named<Text, Var> = "{ title = \"{{ id }}\", version = \"{{ version }}\" }",
        "what it says about an image, in this order; what is written replaces the default as a whole (texts are templates)";
}

table! {
    DIRECTORY: DirectoryKeys = "target_directory", "A folder, perhaps a mounted share",
        "{ path = \"/srv/images\" }", parts [TargetKeys, DirectoryKeys, WorldKeys], is "directory";
    path: Text = "\"/srv/images\"", "a folder that exists".needed();
}

table! {
    HTTP: HttpKeys = "target_http", "A server that takes files by PUT, as WebDAV servers do",
        "{ url = \"https://images.example/upload\" }", parts [TargetKeys, HttpKeys, WorldKeys],
        groups [optional LoginKey], is "http";
    url: BaseUrl = "\"https://images.example/upload\"", "files go below it".needed();
    user: Text = "\"builder\"", "who to be there".goes_with(|| vec![&HTTP.password.key]);
    password: In<SecretKeys> = "{ env = \"IMAGES_PASSWORD\" }", "the user's".goes_with(|| vec![&HTTP.user.key]);
    token: In<SecretKeys> = "{ env = \"IMAGES_TOKEN\" }", "a bearer token, instead of user and password";
}

one_of! {
    /// How to log in.
    LoginKey of HTTP { Password: password, Token: token }
}

table! {
    S3: S3Keys = "target_s3", "An object store that speaks S3",
        "{ endpoint = \"https://s3.eu-west-1.amazonaws.com\", bucket = \"images\" }",
        parts [TargetKeys, S3Keys, WorldKeys], is "s3";
    endpoint: BaseUrl = "\"https://s3.eu-west-1.amazonaws.com\"", "URL of the service".needed();
    bucket: Bucket = "\"images\"", "which bucket".needed();
    prefix: ObjectPrefix = "\"nightly\"", "what the names of all objects begin with".default("nothing");
    region: Text = "\"eu-west-1\"", "where it is".default("\"us-east-1\"");
    access_key: In<SecretKeys> = "{ env = \"ACCESS_KEY\" }", "who to be there"
        .default("{ env = \"AWS_ACCESS_KEY_ID\" }");
    secret_key: In<SecretKeys> = "{ env = \"SECRET_KEY\" }", "the proof of it"
        .default("{ env = \"AWS_SECRET_ACCESS_KEY\" }");
}
