//! Pure: the names that `\p{…}` takes in Go.

/// General categories with their aliases, and the names that Go adds (`Any`, `Assigned`, `ASCII`, `LC`), in lower case
/// and without separators: `unicode.Categories` and `unicode.CategoryAliases`.
const CATEGORIES: &str = "\
    any ascii assigned c casedletter cc cf closepunctuation cn cntrl co combiningmark \
    connectorpunctuation control cs currencysymbol dashpunctuation decimalnumber digit \
    enclosingmark finalpunctuation format initialpunctuation l lc letter letternumber \
    lineseparator ll lm lo lowercaseletter lt lu m mark mathsymbol mc me mn modifierletter \
    modifiersymbol n nd nl no nonspacingmark number openpunctuation other otherletter \
    othernumber otherpunctuation othersymbol p paragraphseparator pc pd pe pf pi po \
    privateuse ps punct punctuation s sc separator sk sm so spaceseparator spacingmark \
    surrogate symbol titlecaseletter unassigned uppercaseletter z zl zp zs";

/// Scripts, in lower case and without separators: `unicode.Scripts`.
const SCRIPTS: &str = "\
    adlam ahom anatolianhieroglyphs arabic armenian avestan balinese bamum bassavah batak \
    bengali bhaiksuki bopomofo brahmi braille buginese buhid canadianaboriginal carian \
    caucasianalbanian chakma cham cherokee chorasmian common coptic cuneiform cypriot \
    cyprominoan cyrillic deseret devanagari divesakuru dogra duployan egyptianhieroglyphs \
    elbasan elymaic ethiopic georgian glagolitic gothic grantha greek gujarati gunjalagondi \
    gurmukhi han hangul hanifirohingya hanunoo hatran hebrew hiragana imperialaramaic \
    inherited inscriptionalpahlavi inscriptionalparthian javanese kaithi kannada katakana \
    kawi kayahli kharoshthi khitansmallscript khmer khojki khudawadi lao latin lepcha limbu \
    lineara linearb lisu lycian lydian mahajani makasar malayalam mandaic manichaean marchen \
    masaramgondi medefaidrin meeteimayek mendekikakui meroiticcursive meroitichieroglyphs \
    miao modi mongolian mro multani myanmar nabataean nagmundari nandinagari newa newtailue \
    nko nushu nyiakengpuachuehmong ogham olchiki oldhungarian olditalic oldnortharabian \
    oldpermic oldpersian oldsogdian oldsoutharabian oldturkic olduyghur oriya osage osmanya \
    pahawhhmong palmyrene paucinhau phagspa phoenician psalterpahlavi rejang runic samaritan \
    saurashtra sharada shavian siddham signwriting sinhala sogdian sorasompeng soyombo \
    sundanese sylotinagri syriac tagalog tagbanwa taile taitham taiviet takri tamil tangsa \
    tangut telugu thaana thai tibetan tifinagh tirhuta toto ugaritic vai vithkuqi wancho \
    warangciti yezidi yi zanabazarsquare";

/// A property of characters.
pub(super) enum Property {
    /// The code points that no text has; the `regex` crate has no name for them.
    Surrogates,
    /// The name in the syntax of the `regex` crate.
    Named(String),
}

/// The property of a name, or nothing if Go has no such name.
///
/// Go 1.25 compares names without case and separators, but does not find scripts of several words (`Old_Italic`),
/// which older versions find by their exact name. All of these are accepted here.
pub(super) fn property(name: &str) -> Option<Property> {
    let canonical: String = name
        .chars()
        .filter(|c| !matches!(c, '_' | '-' | ' '))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let is_among = |names: &str| names.split(' ').any(|other| other == canonical);
    match canonical.as_str() {
        "" => None,
        "cs" | "surrogate" => Some(Property::Surrogates),
        _ if is_among(CATEGORIES) => Some(Property::Named(canonical)),
        _ if is_among(SCRIPTS) => Some(Property::Named(format!("sc={canonical}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_regex_crate_has_every_property() {
        for name in CATEGORIES.split(' ').chain(SCRIPTS.split(' ')) {
            let Some(Property::Named(name)) = property(name) else {
                continue;
            };
            let compiled = ::regex::Regex::new(&format!("\\p{{{name}}}"));
            assert!(compiled.is_ok(), "{name}: {compiled:?}");
        }
    }
}
