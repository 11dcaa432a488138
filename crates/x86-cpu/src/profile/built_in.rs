//! The profiles that are there without a file, one for each vendor.

use std::sync::LazyLock;

use super::Profile;

/// A profile by its name; which one it is follows from the host's vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuiltIn {
    /// x86-64-v2 of the x86-64 psABI, with no more: what every CPU since 2010 (Intel) or 2011 (AMD) has.
    V2,
    /// x86-64-v3, and what CPUs with it have had beside: since Haswell (2013) and Zen (2017).
    V3,
}

static PROFILES: LazyLock<[Option<Profile>; 4]> = LazyLock::new(|| {
    [
        (
            "x86-64-v2",
            include_str!("../../profiles/x86-64-v2-intel.toml"),
        ),
        (
            "x86-64-v2",
            include_str!("../../profiles/x86-64-v2-amd.toml"),
        ),
        (
            "x86-64-v3",
            include_str!("../../profiles/x86-64-v3-intel.toml"),
        ),
        (
            "x86-64-v3",
            include_str!("../../profiles/x86-64-v3-amd.toml"),
        ),
    ]
    .map(|(name, text)| Profile::parse(name, text).ok())
});

impl BuiltIn {
    /// Every name. `baseline` runs on the most hosts.
    pub(crate) const NAMES: [(&str, Self); 3] = [
        ("baseline", Self::V2),
        ("x86-64-v2", Self::V2),
        ("x86-64-v3", Self::V3),
    ];

    /// The one called `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let mut all = Self::NAMES.into_iter();
        all.find(|(known, _)| *known == name).map(|(_, it)| it)
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V2 => "x86-64-v2",
            Self::V3 => "x86-64-v3",
        }
    }

    /// The profile for hosts of `vendor`; none for a vendor that it is not made for.
    pub(crate) fn profile(self, vendor: &str) -> Option<&'static Profile> {
        let of = |it: &&Profile| it.name() == self.name() && it.vendor() == Some(vendor);
        PROFILES.iter().flatten().find(of)
    }
}
