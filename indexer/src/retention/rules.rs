//! The `retention` section of the configuration, and the rules it amounts to.

use std::collections::{BTreeMap, BTreeSet};

use record::{Labels, Matcher, TenantId};
use runtime::config::{Problem, Validate, at_least, join};
use serde::{Deserialize, Serialize};

use super::selector::parse_selector;

/// How long rows are kept and how many bytes of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSection {
    /// Seconds rows that no rule matches are kept after their own time; 0 is for ever.
    pub age_secs: u64,
    /// Stored bytes a tenant may have; above, its oldest segments go. 0 is no limit.
    pub bytes_max: u64,
    /// The same for single tenants.
    pub tenant_bytes_max: BTreeMap<String, u64>,
    /// How long particular rows are kept; of those that match a stream the longest wins.
    pub rules: Vec<RetentionRule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// Name of the class of rows it decides about; segments carry it.
    pub name: String,
    /// Whose rows; every tenant's when absent.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Which streams or series, as LogQL spells it; all when absent.
    #[serde(default = "every_stream")]
    pub selector: String,
    /// Seconds rows are kept after their own time; 0 is for ever.
    pub age_secs: u64,
}

fn every_stream() -> String {
    "{}".to_owned()
}

/// How long rows are kept. The longest is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    Secs(u64),
    Forever,
}

impl Age {
    fn of_secs(secs: u64) -> Self {
        if secs == 0 { Self::Forever } else { Self::Secs(secs) }
    }
}

/// The rules, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The longest first, of equally long ones as configured.
    rules: Vec<Rule>,
    age_secs: u64,
    bytes_max: u64,
    tenant_bytes_max: BTreeMap<String, u64>,
}

#[derive(Clone, Debug)]
struct Rule {
    name: String,
    tenant: Option<String>,
    matchers: Vec<Matcher>,
    age: Age,
}

impl Rules {
    /// The rules of a section that has passed its validation; what has not is left out.
    pub fn new(section: &RetentionSection) -> Self {
        let rules = section.rules.iter().filter_map(|rule| {
            Some(Rule {
                name: rule.name.clone(),
                tenant: rule.tenant.clone(),
                matchers: parse_selector(&rule.selector).ok()?,
                age: Age::of_secs(rule.age_secs),
            })
        });
        let mut rules: Vec<Rule> = rules.collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.age));
        Self {
            rules,
            age_secs: section.age_secs,
            bytes_max: section.bytes_max,
            tenant_bytes_max: section.tenant_bytes_max.clone(),
        }
    }

    /// Whether every row is of the default class.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The class of a stream's rows: the name of the longest rule that matches, or `""`.
    pub fn class(&self, tenant: &TenantId, labels: &Labels) -> &str {
        let matching = self.rules.iter().find(|rule| {
            rule.is_for(tenant)
                && rule.matchers.iter().all(|matcher| matcher.matches_labels(labels))
        });
        matching.map_or("", |rule| rule.name.as_str())
    }

    /// How long rows of a class are kept.
    pub fn age(&self, tenant: &TenantId, class: &str) -> Age {
        let named = self.rules.iter().find(|rule| rule.name == class && rule.is_for(tenant));
        named.map_or(Age::of_secs(self.age_secs), |rule| rule.age)
    }

    /// Stored bytes the tenant may have.
    pub fn bytes_max(&self, tenant: &TenantId) -> Option<u64> {
        let own = self.tenant_bytes_max.get(tenant.as_str()).copied();
        Some(own.unwrap_or(self.bytes_max)).filter(|bytes| *bytes != 0)
    }
}

impl Rule {
    fn is_for(&self, tenant: &TenantId) -> bool {
        self.tenant.as_deref().is_none_or(|wanted| wanted == tenant.as_str())
    }
}

impl Validate for RetentionSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut names = BTreeSet::new();
        for (number, rule) in self.rules.iter().enumerate() {
            let at = join(prefix, &format!("rules[{number}]"));
            if rule.name.is_empty() {
                problems.push(Problem::new(&at, "name", "is empty, name the rule"));
            }
            if !names.insert(&rule.name) {
                let message = format!("`{}` is the name of two rules", rule.name);
                problems.push(Problem::new(&at, "name", message));
            }
            if let Some(Err(error)) = rule.tenant.as_deref().map(TenantId::new) {
                problems.push(Problem::new(&at, "tenant", error.to_string()));
            }
            if let Err(error) = parse_selector(&rule.selector) {
                problems.push(Problem::new(&at, "selector", error.to_string()));
            }
        }
        for (tenant, bytes_max) in &self.tenant_bytes_max {
            let at = join(prefix, "tenant_bytes_max");
            if let Err(error) = TenantId::new(tenant) {
                problems.push(Problem::new(&at, tenant, error.to_string()));
            }
            at_least(&mut problems, &at, tenant, *bytes_max, 1);
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn section(yaml: &str) -> RetentionSection {
        runtime::config::parse(yaml, "retention.yaml").unwrap()
    }

    fn labels(namespace: &str, app: &str) -> Labels {
        Labels::from_pairs([("namespace", namespace), ("app", app)])
    }

    #[test]
    fn the_longest_rule_that_matches_wins() {
        let rules = Rules::new(&section(
            "age_secs: 500\n\
             rules:\n\
             - {name: dev, selector: '{namespace=\"dev\"}', age_secs: 10}\n\
             - {name: audit, selector: '{app=~\"audit.*\"}', age_secs: 0}\n\
             - {name: acme, tenant: acme, age_secs: 900}\n",
        ));
        let (acme, other) = (TenantId::new("acme").unwrap(), TenantId::default());
        assert_eq!(rules.class(&other, &labels("dev", "web")), "dev");
        assert_eq!(rules.class(&other, &labels("dev", "audit-1")), "audit");
        assert_eq!(rules.class(&other, &labels("prod", "web")), "");
        assert_eq!(rules.class(&acme, &labels("dev", "web")), "acme");
        assert_eq!(rules.age(&other, "dev"), Age::Secs(10));
        assert_eq!(rules.age(&other, "audit"), Age::Forever);
        assert_eq!(rules.age(&other, ""), Age::Secs(500));
        assert_eq!(rules.age(&other, "acme"), Age::Secs(500), "the rule is another tenant's");
        assert_eq!(rules.age(&acme, "gone"), Age::Secs(500), "the rule is gone");
    }

    #[test]
    fn each_mistake_is_named() {
        for (yaml, key) in [
            ("rules: [{name: '', age_secs: 1}]", "rules[0].name"),
            ("rules: [{name: a, age_secs: 1}, {name: a, age_secs: 2}]", "rules[1].name"),
            ("rules: [{name: a, age_secs: 1, tenant: 'a/b'}]", "rules[0].tenant"),
            ("rules: [{name: a, age_secs: 1, selector: 'a=b'}]", "rules[0].selector"),
            ("tenant_bytes_max: {acme: 0}", "tenant_bytes_max.acme"),
        ] {
            let problems = section(yaml).problems("retention");
            let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
            assert_eq!(keys, [format!("retention.{key}")], "{yaml}");
        }
        assert!(section("age_secs: 5").problems("retention").is_empty());
    }
}
