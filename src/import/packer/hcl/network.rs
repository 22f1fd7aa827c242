//! Functions on blocks of addresses (`cidrsubnet`), of both versions of IP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hcl::Value;

use super::arguments::{Function, text, whole};

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("cidrhost", |args| {
        let block = Block::read(&text(&args, 0)?)?;
        Ok(block.address(block.inside(whole(&args, 1)?)?).to_string().into())
    }),
    ("cidrnetmask", |args| {
        let block = Block::read(&text(&args, 0)?)?;
        if block.width != 32 {
            return Err("IPv6 has no netmasks".to_owned());
        }
        Ok(block.address(mask(32, block.length)).to_string().into())
    }),
    ("cidrsubnet", |args| {
        let block = Block::read(&text(&args, 0)?)?;
        let bits = u32::try_from(whole(&args, 1)?).map_err(|_| "no number of bits")?;
        let number = u128::try_from(whole(&args, 2)?).map_err(|_| "no number of a block")?;
        block.shorter(bits)?.at(number).map(Block::shown)
    }),
    ("cidrsubnets", |args| {
        let whole_block = Block::read(&text(&args, 0)?)?;
        let mut blocks: Vec<Value> = Vec::new();
        // Where the next one may begin.
        let mut next = 0;
        for at in 1..args.len() {
            let bits = u32::try_from(whole(&args, at)?).map_err(|_| "no number of bits")?;
            let block = whole_block.shorter(bits)?;
            let number = block.count_up_to(next);
            let block = block.at(number)?;
            next = number
                .saturating_add(1)
                .checked_shl(block.width - block.length)
                .unwrap_or(u128::MAX);
            blocks.push(block.shown());
        }
        Ok(blocks.into())
    }),
];

/// A block of addresses.
#[derive(Clone, Copy)]
struct Block {
    first: u128,
    /// Bits that all addresses share.
    length: u32,
    /// Bits of an address.
    width: u32,
    /// Bits of the block that this is a part of.
    outer: u32,
}

/// As many leading ones.
fn mask(width: u32, length: u32) -> u128 {
    let ones = u128::MAX.checked_shl(width - length).unwrap_or_default();
    ones & (u128::MAX >> (128 - width))
}

impl Block {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no block of addresses, such as 10.0.0.0/8");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let length: u32 = length.parse().map_err(|_| wrong())?;
        let (number, width) = match address.parse().map_err(|_| wrong())? {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        if length > width {
            return Err(wrong());
        }
        Ok(Self {
            first: number & mask(width, length),
            length,
            width,
            outer: length,
        })
    }

    /// Blocks in this one that share so many bits more.
    fn shorter(self, bits: u32) -> Result<Self, String> {
        let length = self
            .length
            .checked_add(bits)
            .filter(|length| *length <= self.width);
        let length = length.ok_or("the addresses have no more bits")?;
        Ok(Self { length, ..self })
    }

    /// Which of these blocks is the first that begins at an offset, or behind it.
    fn count_up_to(self, offset: u128) -> u128 {
        offset.div_ceil(1_u128.checked_shl(self.width - self.length).unwrap_or(u128::MAX))
    }

    /// The block of a number.
    fn at(self, number: u128) -> Result<Self, String> {
        let bits = self.length - self.outer;
        if bits < 128 && number >> bits != 0 {
            return Err("there is no more room in the block".to_owned());
        }
        let offset = number.checked_shl(self.width - self.length).unwrap_or_default();
        Ok(Self {
            first: self.first | offset,
            ..self
        })
    }

    /// An address by its number; a negative one counts from the end.
    fn inside(self, number: i64) -> Result<u128, String> {
        let last = !mask(self.width, self.length) & (u128::MAX >> (128 - self.width));
        let offset = match u128::try_from(number) {
            Ok(number) => Some(number),
            Err(_) => last.checked_sub(u128::from(number.unsigned_abs()) - 1),
        };
        let offset = offset
            .filter(|offset| *offset <= last)
            .ok_or("there is no such address in the block")?;
        Ok(self.first | offset)
    }

    fn address(self, number: u128) -> IpAddr {
        match u32::try_from(number) {
            Ok(number) if self.width == 32 => Ipv4Addr::from_bits(number).into(),
            _ => Ipv6Addr::from_bits(number).into(),
        }
    }

    fn shown(self) -> Value {
        format!("{}/{}", self.address(self.first), self.length).into()
    }
}

#[cfg(test)]
mod tests {
    use hcl::eval::{Context, Evaluate as _};

    use super::super::functions;

    #[test]
    fn blocks_of_addresses() {
        let mut context = Context::new();
        functions::declare(&mut context);
        let evaluated = |expression: &str| {
            let expression: hcl::Expression = expression.parse().unwrap();
            expression.evaluate(&context).map(|value| value.to_string())
        };
        for (expression, wanted) in [
            ("cidrhost(\"10.12.127.0/20\", 16)", "\"10.12.112.16\""),
            ("cidrhost(\"10.12.127.0/20\", -1)", "\"10.12.127.255\""),
            (
                "cidrhost(\"fd00:fd12:3456:7890:00a2::/72\", 34)",
                "\"fd00:fd12:3456:7890::22\"",
            ),
            (
                "cidrhost(\"::/0\", -1)",
                "\"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\"",
            ),
            ("cidrnetmask(\"172.16.0.0/12\")", "\"255.240.0.0\""),
            ("cidrsubnet(\"172.16.0.0/12\", 4, 2)", "\"172.18.0.0/16\""),
            (
                "cidrsubnet(\"fd00:fd12:3456:7890::/56\", 16, 162)",
                "\"fd00:fd12:3456:7800:a200::/72\"",
            ),
            (
                "join(\" \", cidrsubnets(\"10.1.0.0/16\", 4, 4, 8, 4))",
                "\"10.1.0.0/20 10.1.16.0/20 10.1.32.0/24 10.1.48.0/20\"",
            ),
        ] {
            assert_eq!(evaluated(expression).unwrap(), wanted, "{expression}");
        }
        for wrong in [
            "cidrhost(\"10.0.0.0/30\", 4)",
            "cidrhost(\"10.0.0.0/33\", 1)",
            "cidrsubnet(\"10.0.0.0/30\", 4, 0)",
            "cidrsubnet(\"10.0.0.0/24\", 2, 4)",
            "cidrsubnets(\"10.0.0.0/24\", 1, 1, 1)",
            "cidrnetmask(\"::/0\")",
        ] {
            assert!(evaluated(wrong).is_err(), "{wrong}");
        }
    }
}
