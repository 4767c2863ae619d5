//! Rights as one table: which role may do what, and how far.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What somebody, or a program, is to the hotline. One may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// 话务员: takes calls.
    Operator,
    /// 班长: sees and helps with the calls of the team.
    TeamLead,
    /// 派单员: sends tickets to departments.
    Dispatcher,
    /// 承办单位: handles the tickets of a department.
    Department,
    /// 回访员: asks callers whether it was done.
    CallBack,
    /// 知识管理员: keeps what operators answer from.
    KnowledgeEditor,
    /// 系统管理员: accounts and settings.
    SystemAdministrator,
    /// 安全管理员: who has which role.
    SecurityAdministrator,
    /// 审计管理员: reads the audit, and nothing else.
    AuditAdministrator,
    /// A program that follows calls: transcripts, drafts, corrections.
    Transcripts,
    /// A program that gives commands to running calls.
    ControlCalls,
    /// A program that reads the reference backend's tickets.
    ReadTickets,
    /// A program that hands drafts to the reference backend.
    WriteTickets,
}

/// What can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// See a call: its conversation and its draft ticket, live and later.
    SeeCall,
    /// Hear its recording.
    HearCall,
    /// Write into its draft, correct its lines, note, pause its recording.
    EditCall,
    /// Hang it up, transfer it.
    DirectCall,
    /// See numbers and identities that are masked.
    Reveal,
    /// Take it out of the house: as a file, in a list.
    Export,
    /// See the tickets of the reference backend.
    ReadTickets,
    /// Hand drafts to the reference backend.
    WriteTickets,
    /// Send tickets to departments, rule on objections.
    Dispatch,
    /// Handle a ticket that was dispatched.
    HandleTicket,
    /// Ask callers whether it was done.
    CallBack,
    /// See what operators answer from.
    ReadKnowledge,
    /// Change it.
    EditKnowledge,
    /// Make accounts, disable them, reset passwords, end sessions.
    ManageUsers,
    /// Give and take roles.
    AssignRoles,
    /// See and change settings.
    ManageSettings,
    /// Read the audit.
    ReadAudit,
    /// See numbers over many calls: load, times, kinds of matters.
    SeeStatistics,
}

/// How far something is allowed; each contains those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One's own: calls that one's own phone takes part in.
    Own,
    /// The team's, and what nobody is known to own; for a department's user the department's.
    Team,
    /// Everybody's.
    All,
}

/// What each role may do. A pair that isn't here is not allowed.
const TABLE: &[(Role, &[(Action, Scope)])] = {
    use Action as A;
    use Scope::{All, Own, Team};
    &[
        (
            Role::Operator,
            &[
                (A::SeeCall, Own),
                (A::HearCall, Own),
                (A::EditCall, Own),
                (A::DirectCall, Own),
                (A::Reveal, Own),
                (A::ReadTickets, Own),
                (A::ReadKnowledge, All),
            ],
        ),
        (
            Role::TeamLead,
            &[
                (A::SeeCall, Team),
                (A::HearCall, Team),
                (A::EditCall, Team),
                (A::DirectCall, Team),
                (A::Reveal, Team),
                (A::Export, Team),
                (A::ReadTickets, Team),
                (A::ReadKnowledge, All),
                (A::SeeStatistics, Team),
            ],
        ),
        (
            Role::Dispatcher,
            &[
                (A::SeeCall, All),
                (A::HearCall, All),
                (A::Reveal, All),
                (A::ReadTickets, All),
                (A::Dispatch, All),
                (A::ReadKnowledge, All),
                (A::SeeStatistics, All),
            ],
        ),
        (
            Role::Department,
            &[
                (A::ReadTickets, Team),
                (A::HandleTicket, Team),
                (A::Reveal, Team),
                (A::ReadKnowledge, All),
                (A::SeeStatistics, Team),
            ],
        ),
        (
            Role::CallBack,
            &[
                (A::SeeCall, Own),
                (A::HearCall, Own),
                (A::EditCall, Own),
                (A::DirectCall, Own),
                (A::Reveal, All),
                (A::ReadTickets, All),
                (A::CallBack, All),
                (A::ReadKnowledge, All),
            ],
        ),
        (
            Role::KnowledgeEditor,
            &[(A::ReadKnowledge, All), (A::EditKnowledge, All)],
        ),
        (
            Role::SystemAdministrator,
            &[(A::ManageUsers, All), (A::ManageSettings, All)],
        ),
        (Role::SecurityAdministrator, &[(A::AssignRoles, All)]),
        (Role::AuditAdministrator, &[(A::ReadAudit, All)]),
        (
            Role::Transcripts,
            &[
                (A::SeeCall, All),
                (A::HearCall, All),
                (A::EditCall, All),
                (A::Reveal, All),
            ],
        ),
        (
            Role::ControlCalls,
            &[(A::EditCall, All), (A::DirectCall, All)],
        ),
        (
            Role::ReadTickets,
            &[(A::ReadTickets, All), (A::Reveal, All)],
        ),
        (Role::WriteTickets, &[(A::WriteTickets, All)]),
    ]
};

/// How far `role` may do `action`, if at all.
#[must_use]
pub fn reach(role: Role, action: Action) -> Option<Scope> {
    let (_, grants) = TABLE.iter().find(|(of, _)| *of == role)?;
    let grant = grants.iter().find(|(granted, _)| *granted == action);
    grant.map(|(_, scope)| *scope)
}

/// Whether `role` may do `action` as far as `scope`.
#[must_use]
pub fn may(role: Role, action: Action, scope: Scope) -> bool {
    reach(role, action).is_some_and(|reach| reach >= scope)
}

/// What somebody with several roles may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights(Vec<Role>);

impl Rights {
    /// Of these roles.
    #[must_use]
    pub fn of(roles: &[Role]) -> Self {
        Self(roles.to_vec())
    }

    /// How far `action` is allowed, if at all: as far as the widest of the roles.
    #[must_use]
    pub fn reach(&self, action: Action) -> Option<Scope> {
        self.0.iter().filter_map(|role| reach(*role, action)).max()
    }

    /// Whether `action` is allowed as far as `scope`.
    #[must_use]
    pub fn may(&self, action: Action, scope: Scope) -> bool {
        self.0.iter().any(|role| may(*role, action, scope))
    }

    /// Everything that is allowed, one entry an action.
    pub fn grants(&self) -> impl Iterator<Item = (Action, Scope)> + '_ {
        let actions = Action::ALL.into_iter();
        actions.filter_map(|action| Some((action, self.reach(action)?)))
    }
}

/// Whether one person may have all of `roles`. Who reads the audit is in none of it; who administers takes no calls.
#[must_use]
pub fn go_together(roles: &[Role]) -> bool {
    let any = |kind: fn(Role) -> bool| roles.iter().any(|role| kind(*role));
    let audits = any(|role| role == Role::AuditAdministrator);
    let administers = any(Role::administers);
    let works =
        any(|role| !role.is_program() && !role.administers() && role != Role::AuditAdministrator);
    let programs = any(Role::is_program);
    [audits, administers, works, programs]
        .into_iter()
        .filter(|kind| *kind)
        .count()
        <= 1
}

impl Role {
    /// All, as they are listed.
    pub const ALL: [Self; 13] = [
        Self::Operator,
        Self::TeamLead,
        Self::Dispatcher,
        Self::Department,
        Self::CallBack,
        Self::KnowledgeEditor,
        Self::SystemAdministrator,
        Self::SecurityAdministrator,
        Self::AuditAdministrator,
        Self::Transcripts,
        Self::ControlCalls,
        Self::ReadTickets,
        Self::WriteTickets,
    ];

    /// Whether it is for programs, and never for an account.
    #[must_use]
    pub const fn is_program(self) -> bool {
        matches!(
            self,
            Self::Transcripts | Self::ControlCalls | Self::ReadTickets | Self::WriteTickets
        )
    }

    const fn administers(self) -> bool {
        matches!(
            self,
            Self::SystemAdministrator | Self::SecurityAdministrator
        )
    }

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::TeamLead => "team_lead",
            Self::Dispatcher => "dispatcher",
            Self::Department => "department",
            Self::CallBack => "call_back",
            Self::KnowledgeEditor => "knowledge_editor",
            Self::SystemAdministrator => "system_administrator",
            Self::SecurityAdministrator => "security_administrator",
            Self::AuditAdministrator => "audit_administrator",
            Self::Transcripts => "transcripts",
            Self::ControlCalls => "control_calls",
            Self::ReadTickets => "read_tickets",
            Self::WriteTickets => "write_tickets",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        let mut roles = Self::ALL.into_iter();
        roles
            .find(|role| role.name() == name && !role.is_program())
            .ok_or_else(|| UnknownRole(name.to_owned()))
    }
}

/// No role of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRole(pub String);

impl fmt::Display for UnknownRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles = Role::ALL.into_iter().filter(|role| !role.is_program());
        let names: Vec<_> = roles.map(Role::name).collect();
        write!(
            f,
            "there is no role '{}'; name one of {}",
            self.0,
            names.join(", ")
        )
    }
}

impl std::error::Error for UnknownRole {}

impl Action {
    /// All, as they are listed.
    pub const ALL: [Self; 18] = [
        Self::SeeCall,
        Self::HearCall,
        Self::EditCall,
        Self::DirectCall,
        Self::Reveal,
        Self::Export,
        Self::ReadTickets,
        Self::WriteTickets,
        Self::Dispatch,
        Self::HandleTicket,
        Self::CallBack,
        Self::ReadKnowledge,
        Self::EditKnowledge,
        Self::ManageUsers,
        Self::AssignRoles,
        Self::ManageSettings,
        Self::ReadAudit,
        Self::SeeStatistics,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is allowed, written once more as a hall would say it: a row an action, a column a role in the order of
    /// [`Role::ALL`]; `-` nothing, `o` own, `t` the team's, `a` all.
    const EXPECTED: [(Action, &str); 18] = [
        (Action::SeeCall, "ota-o----a---"),
        (Action::HearCall, "ota-o----a---"),
        (Action::EditCall, "ot--o----aa--"),
        (Action::DirectCall, "ot--o-----a--"),
        (Action::Reveal, "otata----a-a-"),
        (Action::Export, "-t-----------"),
        (Action::ReadTickets, "otata------a-"),
        (Action::WriteTickets, "------------a"),
        (Action::Dispatch, "--a----------"),
        (Action::HandleTicket, "---t---------"),
        (Action::CallBack, "----a--------"),
        (Action::ReadKnowledge, "aaaaaa-------"),
        (Action::EditKnowledge, "-----a-------"),
        (Action::ManageUsers, "------a------"),
        (Action::AssignRoles, "-------a-----"),
        (Action::ManageSettings, "------a------"),
        (Action::ReadAudit, "--------a----"),
        (Action::SeeStatistics, "-tat---------"),
    ];

    #[test]
    fn each_cell_of_the_table_is_as_a_hall_wants_it() {
        for (action, row) in EXPECTED {
            assert_eq!(row.len(), Role::ALL.len(), "{action:?}");
            for (role, cell) in Role::ALL.into_iter().zip(row.chars()) {
                let reach = match cell {
                    'o' => Some(Scope::Own),
                    't' => Some(Scope::Team),
                    'a' => Some(Scope::All),
                    _ => None,
                };
                for scope in [Scope::Own, Scope::Team, Scope::All] {
                    let expected = reach.is_some_and(|reach| reach >= scope);
                    assert_eq!(
                        may(role, action, scope),
                        expected,
                        "{role} {action:?} {scope:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_role_and_action_stands_in_the_table() {
        for role in Role::ALL {
            assert!(TABLE.iter().any(|(of, _)| *of == role), "{role}");
        }
        for action in Action::ALL {
            let someone = Role::ALL
                .into_iter()
                .any(|role| reach(role, action).is_some());
            assert!(someone, "{action:?}");
        }
    }

    #[test]
    fn several_roles_reach_as_far_as_the_widest() {
        let rights = Rights::of(&[Role::Operator, Role::Dispatcher]);
        assert_eq!(rights.reach(Action::SeeCall), Some(Scope::All));
        assert_eq!(rights.reach(Action::EditCall), Some(Scope::Own));
        assert_eq!(rights.reach(Action::ReadAudit), None);
        assert_eq!(Rights::default().grants().count(), 0);
    }

    #[test]
    fn who_reads_the_audit_does_nothing_else_and_who_administers_takes_no_calls() {
        use Role as R;
        for together in [
            &[][..],
            &[R::Operator, R::TeamLead, R::Dispatcher, R::CallBack],
            &[R::SystemAdministrator, R::SecurityAdministrator],
            &[R::AuditAdministrator],
            &[R::Transcripts, R::ControlCalls],
        ] {
            assert!(go_together(together), "{together:?}");
        }
        for apart in [
            &[R::AuditAdministrator, R::Operator][..],
            &[R::AuditAdministrator, R::SystemAdministrator],
            &[R::SecurityAdministrator, R::TeamLead],
            &[R::Operator, R::WriteTickets],
        ] {
            assert!(!go_together(apart), "{apart:?}");
        }
    }

    #[test]
    fn roles_are_read_by_the_names_they_are_written_by_and_programs_are_no_persons() {
        for role in Role::ALL {
            let read = role.name().parse::<Role>();
            assert_eq!(read.is_ok(), !role.is_program(), "{role}");
            let json = serde_json::to_string(&role).expect("json");
            assert_eq!(json, format!("\"{}\"", role.name()));
        }
        let refused = "boss".parse::<Role>().expect_err("no role").to_string();
        assert!(
            refused.contains("'boss'") && refused.contains("team_lead"),
            "{refused}"
        );
    }
}
