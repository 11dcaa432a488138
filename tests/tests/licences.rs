//! The contents of the tree: each package of Cargo.lock that is built has a licence that deny.toml
//! allows, and comes from crates.io. `cargo deny check` asks the same, and for advisories; here no tool
//! has to be compiled first.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;

use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};
use vmmkit_tests::{cargo, workspace_root};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Every package that is built for this platform, as `cargo metadata` describes it.
fn packages() -> Vec<Value> {
    let platform = ["--filter-platform", "x86_64-unknown-linux-gnu"];
    let arguments = [&["metadata", "--format-version", "1"], &platform[..]].concat();
    let metadata: Value = serde_json::from_str(&cargo(&arguments).unwrap()).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn name(package: &Value) -> String {
    let text = |field: &str| package[field].as_str().unwrap_or("?").to_owned();
    format!("{} {}", text("name"), text("version"))
}

/// The licences of deny.toml.
fn allowed() -> Vec<LicenseReq> {
    let text = fs::read_to_string(workspace_root().join("deny.toml")).unwrap();
    let deny: toml::Table = text.parse().unwrap();
    let names = deny["licenses"]["allow"].as_array().unwrap();
    let requirement = |name: &toml::Value| {
        let expression = Expression::parse(name.as_str().unwrap()).unwrap();
        expression.requirements().next().unwrap().req.clone()
    };
    names.iter().map(requirement).collect()
}

#[test]
fn every_package_has_a_licence_that_is_allowed() {
    let allowed = allowed();
    let mut refused = Vec::new();
    let packages = packages();
    assert!(packages.len() > 100, "{} packages", packages.len());
    for package in &packages {
        let licence = package["license"].as_str().unwrap_or("");
        let fits = Expression::parse_mode(licence, ParseMode::LAX)
            .is_ok_and(|licence| licence.evaluate(|req| allowed.contains(req)));
        if !fits {
            refused.push(format!("{}: {licence:?}", name(package)));
        }
    }
    assert!(refused.is_empty(), "not in deny.toml: {refused:#?}");
}

#[test]
fn every_package_comes_from_crates_io_or_this_workspace() {
    let strangers: Vec<String> = packages()
        .iter()
        .filter(|package| {
            package["source"]
                .as_str()
                .is_some_and(|from| from != CRATES_IO)
        })
        .map(name)
        .collect();
    assert!(strangers.is_empty(), "{strangers:#?}");
}

#[test]
fn no_dependency_takes_any_version() {
    let mut any = Vec::new();
    for package in packages()
        .iter()
        .filter(|package| package["source"].is_null())
    {
        for dependency in package["dependencies"].as_array().unwrap() {
            if dependency["req"] == "*" && dependency["path"].is_null() {
                any.push(format!("{} of {}", dependency["name"], name(package)));
            }
        }
    }
    assert!(any.is_empty(), "{any:#?}");
}
