//! Pure: the table of all functions that a template may call.
//!
//! The names are those of Go, sprig's `TxtFuncMap` and External Secrets. `env`, `expandenv` and `getHostByName` are
//! left out, as in External Secrets: they would show a template the daemon's environment and network.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::signature::Function;
use crate::{builtins, eso, sprig};

/// The function of a name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    static FUNCTIONS: LazyLock<BTreeMap<&'static str, Function>> = LazyLock::new(|| {
        let tables = [
            builtins::ROWS,
            sprig::strings::ROWS,
            sprig::numbers::ROWS,
            sprig::lists::ROWS,
            sprig::dicts::ROWS,
            sprig::defaults::ROWS,
            sprig::json::ROWS,
            sprig::regex::ROWS,
            sprig::dates::ROWS,
            sprig::paths::ROWS,
            sprig::semver::ROWS,
            sprig::crypto::ROWS,
            sprig::certificates::ROWS,
            eso::ROWS,
            eso::keys::ROWS,
            eso::chains::ROWS,
            eso::keystores::ROWS,
        ];
        let rows = tables.iter().copied().flatten();
        rows.map(|row| (row.0, Function::of(row))).collect()
    });
    FUNCTIONS.get(name)
}

/// True for everything that a template may call.
pub(crate) fn exists(name: &str) -> bool {
    matches!(name, "and" | "or") || find(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every function that a template of External Secrets may call.
    const NAMES: &str = "\
        abbrev abbrevboth add add1 add1f addf adler32sum ago all and any append atoi b32dec b32enc \
        b64dec b64enc base bcrypt biggest buildCustomCert call camelcase cat ceil certSANs chunk \
        clean coalesce compact concat contains date dateInZone dateModify date_in_zone date_modify \
        decryptAES deepCopy deepEqual default derivePassword dict dig dir div divf duration \
        durationRound empty encryptAES eq ext fail filterCertChain filterPEM first float64 floor \
        fromJson fromYaml fullPemToPkcs12 fullPemToPkcs12Pass ge genCA genCAWithKey genPrivateKey \
        genSelfSignedCert genSelfSignedCertWithKey genSignedCert genSignedCertWithKey get gt has \
        hasKey hasPrefix hasSuffix hello hexdec html htmlDate htmlDateInZone htpasswd indent index \
        initial initials int int64 isAbs join js jwkPrivateKeyPem jwkPublicKeyPem kebabcase keys \
        kindIs kindOf last le len list lower lt max maxf merge mergeOverwrite min minf mod mul \
        mulf mustAppend mustChunk mustCompact mustDateModify mustDeepCopy mustFirst mustFromJson \
        mustHas mustInitial mustLast mustMerge mustMergeOverwrite mustPrepend mustPush \
        mustRegexFind mustRegexFindAll mustRegexMatch mustRegexReplaceAll \
        mustRegexReplaceAllLiteral mustRegexSplit mustRest mustReverse mustSlice mustToDate \
        mustToJson mustToPrettyJson mustToRawJson mustUniq mustWithout must_date_modify ne nindent \
        nospace not now omit or osBase osClean osDir osExt osIsAbs pemToPkcs12 pemToPkcs12Pass \
        pemTruststoreToPKCS12 pemTruststoreToPKCS12Pass pick pkcs12cert pkcs12certPass pkcs12key \
        pkcs12keyPass pluck plural prepend print printf println push quote randAlpha randAlphaNum \
        randAscii randBytes randInt randNumeric regexFind regexFindAll regexMatch regexQuoteMeta \
        regexReplaceAll regexReplaceAllLiteral regexSplit repeat replace rest reverse round \
        rsaDecrypt semver semverCompare seq set sha1sum sha256sum sha512sum shuffle slice \
        snakecase sortAlpha split splitList splitn squote sub subf substr swapcase ternary title \
        toDate toDecimal toJson toPrettyJson toRawJson toString toStrings toYaml trim trimAll \
        trimPrefix trimSuffix trimall trunc tuple typeIs typeIsLike typeOf uniq unixEpoch unset \
        until untilStep untitle upper urlJoin urlParse urlquery uuidv4 values without wrap \
        wrapWith";

    #[test]
    fn every_function_is_there() {
        let missing: Vec<&str> = NAMES
            .split_whitespace()
            .filter(|name| !exists(name))
            .collect();
        assert_eq!(missing, Vec::<&str>::new());
        // They would show a template the environment of the process.
        for name in ["env", "expandenv", "getHostByName"] {
            assert!(!exists(name), "{name}");
        }
    }
}
