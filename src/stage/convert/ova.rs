//! An OVA: a tar archive of a description in OVF, the digests of its files, and a VMDK.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::tar::{self, Member};
use crate::digest::sha256_hex;
use crate::size::MIB;

/// The machine that an OVA describes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Appliance {
    /// The image's id.
    pub name: String,
    /// Its system, for people.
    pub system: String,
    /// Virtual size of its disk in bytes.
    pub disk: u64,
    /// Memory in bytes.
    pub memory: u64,
    pub cpus: u32,
    /// Whether only UEFI starts it.
    pub uefi: bool,
}

impl Appliance {
    /// What names in the archive begin with; a name in a header has 100 bytes.
    fn stem(&self) -> &str {
        self.name.get(..80).unwrap_or(&self.name)
    }

    /// Name of the disk in the archive.
    pub(super) fn disk_name(&self) -> String {
        format!("{}-disk1.vmdk", self.stem())
    }

    /// Writes the archive; says at which byte of it the disk begins.
    pub(super) fn write(&self, disk: &Path, bytes: u64, sha256: &str, to: &Path) -> io::Result<u64> {
        let (ovf_name, list_name, disk_name) = (
            format!("{}.ovf", self.stem()),
            format!("{}.mf", self.stem()),
            self.disk_name(),
        );
        let ovf = self.descriptor(bytes);
        let list = format!(
            "SHA256({ovf_name})= {}\nSHA256({disk_name})= {sha256}\n",
            sha256_hex(ovf.as_bytes())
        );
        let texts = [(ovf_name, ovf), (list_name, list)];
        let mut out = BufWriter::new(File::create(to)?);
        let at = tar::write_texts(&mut out, &texts)?;
        let member = Member::file(&disk_name, bytes);
        tar::write_file(&mut out, &member, disk)?;
        tar::end(&mut out)?;
        out.into_inner()?;
        Ok(at + member.header().len() as u64)
    }

    /// The description (DSP0243 1.1). VMware reads what it needs for UEFI; VirtualBox has no standard key for that.
    fn descriptor(&self, bytes: u64) -> String {
        let Self {
            disk, memory, cpus, ..
        } = self;
        let [name, system, file] = [&self.name, &self.system, &self.disk_name()].map(|text| escaped(text));
        let memory = memory.div_ceil(MIB);
        let firmware = if self.uefi {
            "\n      <vmw:Config ovf:required=\"false\" vmw:key=\"firmware\" vmw:value=\"efi\"/>"
        } else {
            ""
        };
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:id="file1" ovf:href="{file}" ovf:size="{bytes}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:capacity="{disk}" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="NAT">
      <Description>A network with DHCP</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A virtual machine</Info>
    <Name>{name}</Name>
    <OperatingSystemSection ovf:id="101">
      <Info>The operating system</Info>
      <Description>{system}</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-10 virtualbox-2.2</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:Description>Virtual processors</rasd:Description>
        <rasd:ElementName>{cpus} virtual CPU(s)</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>{cpus}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:Description>Memory</rasd:Description>
        <rasd:ElementName>{memory} MiB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>{memory}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:Description>SATA controller</rasd:Description>
        <rasd:ElementName>sataController0</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>AHCI</rasd:ResourceSubType>
        <rasd:ResourceType>20</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>disk1</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>1</rasd:AddressOnParent>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>NAT</rasd:Connection>
        <rasd:Description>Ethernet adapter</rasd:Description>
        <rasd:ElementName>ethernet0</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>E1000</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>{firmware}
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#
        )
    }
}

/// A text in XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
