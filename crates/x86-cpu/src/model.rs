//! Which CPU features the guest is to see, as its user writes it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::profile::BuiltIn;
use crate::{CpuidError, Feature, Profile};

/// The CPU the guest sees: the host's or a profile's, with features taken away (`-avx2`) or insisted on
/// (`+aes`).
///
/// Written `host`, `host,-avx2,-cx16` or `host,+x2apic`, with names as in Linux's /proc/cpuinfo; instead
/// of `host` a built-in profile: `x86-64-v2`, which is also called `baseline`, or `x86-64-v3`. A feature
/// that is insisted on is the host's, whatever the profile says.
/// Of the same name twice the last counts. `pmu` is the whole performance monitoring unit: hidden
/// unless `+pmu` asks for it, since each guest that finds one probes and calibrates it.
///
/// ```
/// # use vmmkit_x86_cpu::CpuModel;
/// let model: CpuModel = "host,-avx2,+aes".parse()?;
/// assert_eq!(model.to_string(), "host,-avx2,+aes");
/// assert!("host,-avx3".parse::<CpuModel>().is_err());
/// # Ok::<(), vmmkit_x86_cpu::CpuModelError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuModel {
    base: Base,
    changes: Vec<Change>,
    pmu: bool,
}

/// The base that is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Base {
    #[default]
    Host,
    BuiltIn(BuiltIn),
    File(Arc<Profile>),
}

/// A feature taken away or insisted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    feature: Feature,
    wanted: bool,
}

/// Why a text is not a CPU model.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CpuModelError {
    /// It does not start with a model there is.
    #[error(
        "no CPU model {0:?}: there are host, baseline, x86-64-v2, x86-64-v3, and features after it as in \
         host,-avx2,+aes"
    )]
    UnknownModel(String),
    /// A feature without a sign.
    #[error("CPU feature {0:?} needs a sign: + to insist on it, - to take it away")]
    NoSign(String),
    /// No feature has this name.
    #[error("no CPU feature {name:?}{}", hint(.near))]
    UnknownFeature {
        /// The name, without its sign.
        name: String,
        /// Names that are spelt much like it, the closest first.
        near: Vec<&'static str>,
    },
}

/// The name of the performance monitoring unit; it is not a single bit.
const PMU: &str = "pmu";

impl CpuModel {
    /// The CPU of `profile`, with `changes`: each a feature with its sign.
    ///
    /// # Errors
    /// [`CpuModelError`] for what is not a feature, or has no sign.
    pub fn of_profile<'a>(
        profile: Profile,
        changes: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, CpuModelError> {
        let base = Base::File(Arc::new(profile));
        Self::changed(base, changes)
    }

    fn changed<'a>(
        base: Base,
        changes: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, CpuModelError> {
        let mut model = Self {
            base,
            ..Self::default()
        };
        changes
            .into_iter()
            .try_for_each(|part| model.change(part))?;
        Ok(model)
    }

    /// Whether it is a profile's and not the host's.
    pub(crate) fn is_profile(&self) -> bool {
        self.base != Base::Host
    }

    /// The profile that it was given, if any.
    pub(crate) fn file(&self) -> Option<&Profile> {
        match &self.base {
            Base::File(profile) => Some(profile),
            _ => None,
        }
    }

    /// Whether a profile of a file brings MSRs.
    pub fn has_msrs(&self) -> bool {
        self.file()
            .is_some_and(|profile| !profile.msrs().is_empty())
    }

    /// Whether features are taken away or insisted on.
    pub fn has_changes(&self) -> bool {
        self.pmu || !self.changes.is_empty()
    }

    /// The profile on a host of `vendor`, without the changes; none where the CPU is the host's.
    ///
    /// # Errors
    /// [`CpuidError::NoBuiltIn`] if none is made for that vendor.
    pub fn profile(&self, vendor: &str) -> Result<Option<&Profile>, CpuidError> {
        match &self.base {
            Base::Host => Ok(None),
            Base::File(profile) => Ok(Some(profile)),
            Base::BuiltIn(built_in) => match built_in.profile(vendor) {
                Some(profile) => Ok(Some(profile)),
                None => Err(CpuidError::NoBuiltIn {
                    name: built_in.name(),
                    vendor: vendor.to_owned(),
                }),
            },
        }
    }

    /// The guest may see the performance monitoring unit.
    pub fn pmu(&self) -> bool {
        self.pmu
    }

    /// The features that must be there.
    pub fn wanted(&self) -> impl Iterator<Item = Feature> {
        self.with(true)
    }

    /// The features that are taken away.
    pub fn unwanted(&self) -> impl Iterator<Item = Feature> {
        self.with(false)
    }

    fn with(&self, wanted: bool) -> impl Iterator<Item = Feature> {
        let changes = self
            .changes
            .iter()
            .filter(move |change| change.wanted == wanted);
        changes.map(|change| change.feature)
    }

    fn change(&mut self, text: &str) -> Result<(), CpuModelError> {
        let (wanted, name) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(name), _) => (true, name),
            (_, Some(name)) => (false, name),
            _ => return Err(CpuModelError::NoSign(text.to_owned())),
        };
        if name == PMU {
            self.pmu = wanted;
            return Ok(());
        }
        let feature = Feature::named(name).ok_or_else(|| CpuModelError::UnknownFeature {
            name: name.to_owned(),
            near: Feature::nearest(name),
        })?;
        self.changes.retain(|change| change.feature != feature);
        self.changes.push(Change { feature, wanted });
        Ok(())
    }
}

impl FromStr for CpuModel {
    type Err = CpuModelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(',');
        let base = match parts.next().unwrap_or_default() {
            "host" => Base::Host,
            name => BuiltIn::named(name)
                .map(Base::BuiltIn)
                .ok_or_else(|| CpuModelError::UnknownModel(name.to_owned()))?,
        };
        Self::changed(base, parts)
    }
}

impl fmt::Display for CpuModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.base {
            Base::Host => "host",
            Base::BuiltIn(built_in) => built_in.name(),
            Base::File(profile) => profile.name(),
        })?;
        for Change { feature, wanted } in &self.changes {
            write!(f, ",{}{}", if *wanted { '+' } else { '-' }, feature.name)?;
        }
        if self.pmu {
            write!(f, ",+{PMU}")?;
        }
        Ok(())
    }
}

fn hint(near: &[&str]) -> String {
    match near {
        [] => String::new(),
        near => format!(": did you mean {}?", near.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(features: impl Iterator<Item = Feature>) -> Vec<&'static str> {
        features.map(|feature| feature.name).collect()
    }

    #[test]
    fn host_alone_changes_nothing() {
        let model: CpuModel = "host".parse().unwrap();

        assert_eq!(model, CpuModel::default());
        assert_eq!(model.to_string(), "host");
        assert!(!model.pmu());
    }

    #[test]
    fn signs_say_what_is_wanted() {
        let model: CpuModel = "host,-avx2,-cx16,+x2apic,+pmu".parse().unwrap();

        assert_eq!(names(model.unwanted()), ["avx2", "cx16"]);
        assert_eq!(names(model.wanted()), ["x2apic"]);
        assert!(model.pmu());
        assert_eq!(model.to_string(), "host,-avx2,-cx16,+x2apic,+pmu");
    }

    #[test]
    fn of_the_same_feature_twice_the_last_counts() {
        let model: CpuModel = "host,-aes,+aes,+pmu,-pmu".parse().unwrap();

        assert_eq!(model.to_string(), "host,+aes");
    }

    #[test]
    fn a_built_in_profile_has_one_name_and_changes() {
        for (text, reads_back) in [
            ("baseline", "x86-64-v2"),
            ("x86-64-v2,+aes", "x86-64-v2,+aes"),
            ("x86-64-v3,-avx2,+pmu", "x86-64-v3,-avx2,+pmu"),
        ] {
            let model: CpuModel = text.parse().unwrap();
            assert_eq!(model.to_string(), reads_back);
            assert!(model.is_profile());
        }
    }

    #[test]
    fn a_profile_is_called_by_its_name() {
        let profile = Profile::parse("my/own.toml", "others = \"host\"").unwrap();
        let model = CpuModel::of_profile(profile, ["-avx2"]).unwrap();

        assert_eq!(model.to_string(), "my/own.toml,-avx2");
        let profile = model.file().unwrap().clone();
        assert!(CpuModel::of_profile(profile, ["avx2"]).is_err());
    }

    #[test]
    fn a_misspelt_feature_is_answered_with_those_nearest() {
        let error = "host,-avx512_vnn".parse::<CpuModel>().unwrap_err();

        let message = error.to_string();
        assert!(message.contains("did you mean avx512_vnni"), "{message}");
        assert!(
            "host,+qqqqqqqq"
                .parse::<CpuModel>()
                .unwrap_err()
                .to_string()
                .ends_with('"')
        );
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let error = |text: &str| text.parse::<CpuModel>().unwrap_err();

        assert_eq!(
            error("skylake"),
            CpuModelError::UnknownModel("skylake".to_owned())
        );
        assert_eq!(error(""), CpuModelError::UnknownModel(String::new()));
        assert_eq!(error("host,avx2"), CpuModelError::NoSign("avx2".to_owned()));
        assert_eq!(error("host,"), CpuModelError::NoSign(String::new()));
        assert!(matches!(
            error("host,+"),
            CpuModelError::UnknownFeature { .. }
        ));
    }
}
