//! `[publish]`: the form of images. Where they go is described with each kind of place.

use super::super::key::Kind;
use super::super::row::{Choice, Either, In, List, Whole, Yes};
use super::super::text::{Name, Text, TextForm};
use crate::digest::Algorithm;
use crate::manifest::model::{Compression, DiskFormat, Form};
use crate::packages::Bom;
use crate::signing::SignerKeys;
use crate::syntax::table::table;

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
    sbom: List<Choice<Bom>> = "[\"spdx\", \"cyclonedx\"]",
        "bills of materials to publish with each image: SPDX 2.3 and CycloneDX 1.6, in JSON".default("[]");
    provenance: Yes = "true",
        "`true`: publishes with each image how it was made, by SLSA provenance 1 in an in-toto statement".default("it is not said");
    sign: List<In<SignerKeys>> = "[{ ssh = { file = \"signing_key\" } }, { openpgp = \"0123456789ABCDEF0123456789ABCDEF01234567\" }]",
        "who signs the checksum files and `index.json`, each program once".default("they are not signed");
    file: Text = "\"{{ id }}.{{ format }}{{ suffix }}\"",
        "path of each image below the output folder (a template)"
        .default("\"{{ id }}/{{ id }}.{{ format }}{{ suffix }}\"");
    formats: List<Either<Choice<Form>, In<FormatKeys>>> = "[\"vmdk\", { form = \"raw\", compress = \"zstd\" }]",
        "further formats in which each image appears, by name or as tables";
    versions: In<VersionsKeys> = "{ keep = 5 }",
        "keeps earlier builds of each image below `versions` of the output folder";
}

table! {
    VERSIONS: VersionsKeys = "versions", "Which earlier builds of images are kept", "{ keep = 5 }";
    keep: Whole<usize, 1, 1000> = "5", "how many versions of each image; what `latest` names is kept in any case".needed();
    hold: Yes = "true", "`true`: a new version is `latest` only after `pipeline promote`".default("it is `latest` at once");
}

table! {
    FORMAT: FormatKeys = "format", "A further format of each image", "{ form = \"raw\", compress = \"zstd\" }";
    form: Choice<Form> = "\"vmdk\"", "the format".needed();
    compress: Choice<Compression> = "\"zstd\"",
        "how the file is compressed; formats whose data is compressed already have none".default("\"none\"");
    file: Text = "\"{{ id }}/azure.{{ format }}{{ suffix }}\"", "path below the output folder (a template)"
        .default("as `file` of `[publish]`, with this format and suffix");
}
