//! `.treeinfo`: the file in which media of the Red Hat family say where their kernel and initial RAM disk are
//! (<https://productmd.readthedocs.io/en/latest/treeinfo-1.2.html>). An INI file; only what starts a machine is read.

/// Names that the file may have, in the root of a medium.
pub const NAMES: [&str; 2] = [".treeinfo", "treeinfo"];

/// Where a medium keeps what starts its installer, relative to its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    pub kernel: String,
    /// Initial RAM disk.
    pub initrd: String,
}

/// Reads the images for an architecture, as the file names it: `x86_64`.
pub fn images(text: &str, arch: &str) -> Option<Images> {
    let wanted = format!("images-{arch}");
    let (mut inside, mut kernel, mut initrd) = (false, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = section.trim() == wanted;
            continue;
        }
        if !inside || line.starts_with(['#', ';']) {
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']) else {
            continue;
        };
        match key.trim() {
            "kernel" => kernel = Some(value.trim().to_owned()),
            "initrd" => initrd = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    Some(Images {
        kernel: kernel.filter(|path| !path.is_empty())?,
        initrd: initrd.filter(|path| !path.is_empty())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_of_one_architecture_are_found() {
        let text = "[general]\narch = x86_64\nfamily = CentOS Linux\nkernel = wrong\n\n[images-xen]\nkernel = x\ninitrd = y\n\n\
                    # for machines\n[images-x86_64]\nefiboot.img = images/efiboot.img\ninitrd = images/pxeboot/initrd.img\n\
                    kernel = images/pxeboot/vmlinuz\n\n[tree]\nkernel = wrong\n";
        let found = images(text, "x86_64").unwrap();
        assert_eq!(found.kernel, "images/pxeboot/vmlinuz");
        assert_eq!(found.initrd, "images/pxeboot/initrd.img");
        assert_eq!(images(text, "aarch64"), None);
        assert_eq!(images("[images-x86_64]\nkernel =\ninitrd = a\n", "x86_64"), None);
    }
}
