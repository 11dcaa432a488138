//! The saved form of a network device.

use super::config::mac;

/// What is saved besides transport and queues: version 1 of the form, one line of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) mac: [u8; 6],
    pub(super) mtu: Option<u16>,
    pub(super) is_plugged: bool,
    pub(super) pairs: u16,
    pub(super) offloads: u64,
}

impl Saved {
    pub(super) fn to_text(self) -> String {
        let link = if self.is_plugged { "up" } else { "down" };
        format!(
            "net 1 mac={} mtu={} link={link} pairs={} offloads={:#x}",
            mac(&self.mac),
            self.mtu.unwrap_or(0),
            self.pairs,
            self.offloads
        )
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::parse_words(text)
            .ok_or_else(|| format!("{text:?} is no saved network device of version 1"))
    }

    fn parse_words(text: &str) -> Option<Self> {
        let mut words = text.strip_prefix("net 1 ")?.split(' ');
        let mut value = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=');
        let mac = parse_mac(value("mac")?)?;
        let mtu = value("mtu")?.parse().ok()?;
        let is_plugged = match value("link")? {
            "up" => true,
            "down" => false,
            _ => return None,
        };
        let pairs = value("pairs")?.parse().ok()?;
        let offloads = value("offloads")?.strip_prefix("0x")?;
        Some(Self {
            mac,
            mtu: (mtu != 0).then_some(mtu),
            is_plugged,
            pairs,
            offloads: u64::from_str_radix(offloads, 16).ok()?,
        })
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16));
    let bytes = bytes.collect::<Result<Vec<u8>, _>>().ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::Saved;

    #[test]
    fn what_is_written_is_read() {
        let saved = Saved {
            mac: [2, 0, 0, 0xab, 0xcd, 0xef],
            mtu: Some(1400),
            is_plugged: false,
            pairs: 3,
            offloads: 0x82,
        };
        let text = saved.to_text();
        let words = "net 1 mac=02:00:00:ab:cd:ef mtu=1400 link=down pairs=3 offloads=0x82";
        assert_eq!(text, words);
        assert_eq!(Saved::parse(&text), Ok(saved));
        assert!(Saved::parse("net 2 mac=02:00:00:ab:cd:ef").is_err());
    }
}
