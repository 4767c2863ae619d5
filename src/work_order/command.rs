//! What a work order is asked, what happens to it, and why something is refused.

use std::fmt;

use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Serialize};

use super::limit::{Limit, LimitKind};
use super::order::Stage;
use super::permission::Capacity;
use crate::private::Private;

/// Something that people write.
pub type Text = Private<String>;

/// Who handles it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parties {
    /// 主办: answers for all.
    pub lead: String,
    /// 协办: each has a part.
    #[serde(default)]
    pub joint: Vec<String>,
}

/// A file that somebody added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// What it is called.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// In bytes.
    pub size: u64,
    /// SHA-256 of its content, hexadecimal: where it is kept.
    pub digest: String,
}

/// What comes of an objection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// Others are responsible.
    Elsewhere(Parties),
    /// It stays where it is.
    Refused,
    /// Nobody is alone responsible: these were agreed on, and nobody objects any more.
    Negotiated(Parties),
}

/// What a citizen says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rating {
    /// Whether the matter is solved.
    pub solved: bool,
    /// Whether the citizen is satisfied.
    pub satisfied: bool,
    /// Why, in the citizen's words.
    #[serde(default)]
    pub why: Text,
}

/// A warning about a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Card {
    /// It ends soon.
    Yellow,
    /// It has ended.
    Due,
    /// It ended long ago.
    Red,
}

/// What is asked of a work order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Command {
    /// 直接答复.
    AnswerDirectly { answer: Text, basis: String },
    /// 转接: to an emergency line or a utility, at once.
    HandOver { to: String, note: Text },
    /// 不予受理, with where the citizen can go.
    Decline { reason: String, go_to: String },
    /// 受理.
    Accept,
    /// 派单.
    Dispatch { parties: Parties, note: Text },
    /// 签收.
    Take,
    /// 退单, with a reason and who is responsible instead.
    Object { reason: Text, instead: String },
    /// 裁定.
    Rule { ruling: Ruling, reason: Text },
    /// What one of several units did.
    ReplyPart { text: Text },
    /// 答复: of the lead, for all.
    Reply { text: Text },
    /// 审核通过.
    Approve,
    /// 审核退回.
    SendBack { reason: Text },
    /// 回访未接通.
    TryCallBack { note: Text },
    /// 回访评价.
    Rate { rating: Rating },
    /// 归档.
    File,
    /// 重新打开.
    Reopen { reason: Text },
    /// 申请延期.
    AskExtension { days: u32, reason: Text },
    /// 审批延期.
    DecideExtension { approved: bool, reason: Text },
    /// 挂起, until when it is looked at again.
    Suspend { review: Date, reason: Text },
    /// 恢复.
    Resume,
    /// 督办.
    Supervise { reason: Text },
    /// 解除督办.
    EndSupervision,
    /// 并单: it goes on under another.
    Merge { parent: String },
    /// It goes its own way again.
    Separate,
    /// The other side of a merge: another goes on under this one.
    Adopt { child: String },
    /// The other side of a separation.
    Release { child: String },
    /// What it was merged into is finished.
    FinishWithParent { answer: Text },
    /// 催办.
    Urge { text: Text },
    /// 附件.
    Attach { attachment: Attachment },
    /// 保密: units do not see the caller.
    SetConfidential { confidential: bool },
    /// 备注.
    Note { text: Text },
    /// A limit comes near, or has passed.
    ShowCard { kind: LimitKind, card: Card },
    /// The calendar knows more than when the limits were computed.
    RecomputeLimits,
}

macro_rules! kinds {
    ($($kind:ident),* $(,)?) => {
        /// What kind of command it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum CommandKind { $($kind),* }

        impl CommandKind {
            /// All.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];
        }

        impl Command {
            /// What kind of command it is.
            #[must_use]
            pub const fn kind(&self) -> CommandKind {
                match self { $(Self::$kind { .. } => CommandKind::$kind),* }
            }
        }
    };
}

kinds![
    AnswerDirectly,
    HandOver,
    Decline,
    Accept,
    Dispatch,
    Take,
    Object,
    Rule,
    ReplyPart,
    Reply,
    Approve,
    SendBack,
    TryCallBack,
    Rate,
    File,
    Reopen,
    AskExtension,
    DecideExtension,
    Suspend,
    Resume,
    Supervise,
    EndSupervision,
    Merge,
    Separate,
    Adopt,
    Release,
    FinishWithParent,
    Urge,
    Attach,
    SetConfidential,
    Note,
    ShowCard,
    RecomputeLimits,
];

/// What happened to a work order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Event {
    AnsweredDirectly {
        answer: Text,
        basis: String,
    },
    HandedOver {
        to: String,
        note: Text,
    },
    Declined {
        reason: String,
        go_to: String,
    },
    Accepted,
    Dispatched {
        parties: Parties,
        note: Text,
    },
    Taken {
        unit: String,
    },
    Objected {
        unit: String,
        reason: Text,
        instead: String,
    },
    Ruled {
        ruling: Ruling,
        reason: Text,
        is_final: bool,
    },
    PartReplied {
        unit: String,
        text: Text,
    },
    Replied {
        text: Text,
    },
    Approved,
    SentBack {
        reason: Text,
    },
    CallBackTried {
        note: Text,
    },
    Rated {
        rating: Rating,
    },
    /// The citizen was not reached as often as is tried.
    LeftUnrated,
    /// It is done again, for so many times now.
    Again {
        round: u32,
    },
    /// It stands higher: whoever supervises looks at it.
    Raised,
    Filed,
    Reopened {
        reason: Text,
    },
    ExtensionAsked {
        days: u32,
        reason: Text,
    },
    ExtensionDecided {
        approved: bool,
        reason: Text,
    },
    Suspended {
        review: Date,
        reason: Text,
    },
    Resumed {
        since: DateTime,
    },
    Supervised {
        reason: Text,
    },
    SupervisionEnded,
    Merged {
        parent: String,
    },
    Separated,
    Adopted {
        child: String,
    },
    Released {
        child: String,
    },
    FinishedWithParent {
        answer: Text,
    },
    Urged {
        text: Text,
    },
    Attached {
        attachment: Attachment,
    },
    ConfidentialitySet {
        confidential: bool,
    },
    Noted {
        text: Text,
    },
    LimitSet {
        kind: LimitKind,
        limit: Limit,
    },
    LimitMet {
        kind: LimitKind,
    },
    CardShown {
        kind: LimitKind,
        card: Card,
    },
}

/// Why a command is refused; nothing happened then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not in this stage.
    NotNow {
        /// In which it stands.
        stage: Stage,
    },
    /// Not by this capacity.
    NotYou {
        /// Which.
        capacity: Capacity,
    },
    /// The unit has no part in it.
    NotYours,
    /// Only the lead may.
    OnlyLead,
    /// It goes on under another.
    IsMerged {
        /// Which.
        parent: String,
    },
    /// Others go on under it.
    HasChildren,
    /// A work order is not its own parent, and a child has no children.
    NoParent,
    /// It is not merged, or that one is no child of it.
    NotMerged,
    /// The unit has taken it already.
    AlreadyTaken,
    /// The unit has objected as often as is allowed, or the ruling is final.
    ObjectedEnough,
    /// The time for objections is over.
    TooLateToObject,
    /// Units whose parts are missing.
    PartsMissing {
        /// Which.
        units: Vec<String>,
    },
    /// It is suspended, or an extension or an objection is being decided.
    Pending,
    /// There is nothing to decide.
    NothingAsked,
    /// Not so many days, or not again.
    TooLong {
        /// Days that are left at most.
        most: u32,
    },
    /// It is suspended already, or is not.
    SuspendedAlready,
    /// The review lies in the past.
    PastReview,
    /// A reason, an answer or a name must be given.
    Empty,
    /// A unit stands twice among the parties.
    UnitTwice,
    /// The file is too large, or of a kind that is not taken.
    BadAttachment,
    /// As often as is tried.
    TriedEnough,
    /// There is no such limit, or the card was shown.
    NoSuchCard,
    /// It is so already.
    SoAlready,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNow { stage } => {
                write!(f, "the work order is {stage:?}, in which this is not done")
            }
            Self::NotYou { capacity } => write!(f, "this is not done by {capacity:?}"),
            Self::NotYours => f.write_str("the unit has no part in this work order"),
            Self::OnlyLead => f.write_str("only the lead unit does this"),
            Self::IsMerged { parent } => write!(
                f,
                "it goes on under {parent}; act there, or separate it first"
            ),
            Self::HasChildren => f.write_str("others go on under it; separate them first"),
            Self::NoParent => f.write_str("that work order cannot be its parent"),
            Self::NotMerged => f.write_str("the two are not merged"),
            Self::AlreadyTaken => f.write_str("the unit has taken it already"),
            Self::ObjectedEnough => f.write_str("the ruling is final; nobody objects any more"),
            Self::TooLateToObject => f.write_str("the time in which a unit may object is over"),
            Self::PartsMissing { units } => {
                write!(f, "the parts of {} are missing", units.join(", "))
            }
            Self::Pending => {
                f.write_str("it is suspended, or something is being decided; that comes first")
            }
            Self::NothingAsked => f.write_str("there is nothing to decide"),
            Self::TooLong { most } => write!(f, "at most {most} more working days can be given"),
            Self::SuspendedAlready => f.write_str("it is suspended already, or is not suspended"),
            Self::PastReview => f.write_str("the day of review must lie ahead"),
            Self::Empty => f.write_str("a reason, an answer or a name must be given"),
            Self::UnitTwice => f.write_str("each unit stands once among the parties"),
            Self::BadAttachment => {
                f.write_str("the file is too large, or of a kind that is not taken")
            }
            Self::TriedEnough => f.write_str("the citizen was tried as often as the site wants"),
            Self::NoSuchCard => f.write_str("there is no such limit, or the card was shown before"),
            Self::SoAlready => f.write_str("it is so already"),
        }
    }
}

impl std::error::Error for Refusal {}
