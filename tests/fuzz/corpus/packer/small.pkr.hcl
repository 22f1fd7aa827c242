@@ s.pkr.hcl
variable "n" {
  default = 3
}
variables {
  a = "x"
  m = { k = [1, 2, "z"], "q-r" = true }
}
local "secret" {
  expression = "${var.a}-${upper(var.a)}"
  sensitive  = true
}
locals {
  l = [for i, v in [1, 2, 3] : "${i}:${v * var.n}" if v != 2]
  o = { for k, v in var.m : k => try(v, null) }
  h = <<-EOT
    %{ for x in local.l ~}
    line ${x}
    %{ endfor ~}
    %{ if var.n > 2 }yes%{ else }no%{ endif }
  EOT
}
data "http" "x" { url = "http://a" }
source "qemu" "s" {
  iso_url      = format("http://h/%s-%02d.iso", var.a, var.n)
  iso_checksum = "none"
  disk_size    = var.n * 1024
  cd_files     = ["./http/*"]
  boot_command = concat(["<esc>"], [for c in split(",", "a,b") : "<${c}On>"])
  boot_wait    = "-1s"
  vm_name      = replace(join("-", local.l), ":", "_")
}
build {
  name = "b"
  source "qemu.s" {
    name = "t"
    format = "raw"
  }
  dynamic "provisioner" {
    for_each = ["x"]
    labels   = ["shell"]
    content {
      inline = [provisioner.value]
    }
  }
  provisioner "shell" {
    inline = split("\n", local.h)
    only = ["b.qemu.t"]
    override = { t = { execute_command = "sudo {{.Vars}} {{.Path}}" } }
  }
  error-cleanup-provisioner "shell-local" { inline = ["x"] }
  post-processor "manifest" { output = "m.json" }
  post-processor "shell-local" { inline = ["gzip -9 ${build.name}"] }
}
@@ x.pkrvars.hcl
a = "y"
m = { z = 1 }
