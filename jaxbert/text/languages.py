"""The codes that a language of the sentence rules may have."""

from difflib import get_close_matches

from jaxbert.errors import UserError

# ISO 639-1, with codes of it that Wikipedias still have.
_TWO_LETTERS = """
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de
dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id
ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu
lv mg mh mi mk ml mn mo mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt
qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn
to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
# What sentencex knows besides, mostly to take the rules of a near relative.
_OTHERS = """
aae abs ace acm ady aeb aeb-arab aln als alt ami anp apc arn arq ary arz ast atj avk awa azb ban
ban-bali bar bat-smg bbc bbc-latn bcc bci bdr be-tarask be-x-old bew bgn bho bjn blk bpy bqi btm
bug bug-bugi bxr cbk-zam cdo cdo-hant cdo-latn cpx cpx-hans cpx-hant crh crh-cyrl crh-latn csb
de-at de-ch de-formal dsb dtp dty dua egl eml en-ca en-gb es-formal ext fit fiu-vro fon frc frp
frr fur gag gan gan-hans gan-hant gcf gcr gld glk gom gom-deva gor gsw guc hak hif hke hrx hsb hsn
hu-formal hyw iba ike-cans ike-latn inh jam jut kaa kab kbd kbp kea kge khw kiu kjh kjp kk-arab
kk-cn kk-cyrl kk-kz kk-latn kk-tr ko-kp koi krc krl ksh ksw ku-arab ku-latn kum lad lbe lez lij
liv ljp lki lld lmo lrc ltg lua luz lzh lzz mad mag mai map-bms mdf mhr min mnc-latn mnc-mong mnw
mrj ms-arab mui mwl myv mzn nah nan nan-hant nap nds nds-nl nia nl-informal nrm nyo olo pcd pdc
pdt pfl pih pms pnt pt-br pwn qug rgn rmy roa-rup roa-tara rsk rue rup ruq ruq-cyrl ruq-latn rut
sah scn sco sdc sdh se-fi se-no se-se ses sgs sh-cyrl sh-latn shi shy shy-latn sjd skr skr-arab
sli sma smn sr-cyrl sr-ec sr-el sr-latn srn sro stq sty szl szy tay tcy tet tg-cyrl tg-latn trv
tt-cyrl ttj tyv udm vec vep vls vmf vmw vot vro wls wuu wuu-hans wuu-hant xal xmf yue yue-hans
yue-hant zea zgh zh-classical zh-cn zh-hans zh-hant zh-hk zh-min-nan zh-mo zh-my zh-sg zh-tw
zh-yue
"""
LANGUAGES = frozenset(f"{_TWO_LETTERS} {_OTHERS}".split())


def check_language(code: str) -> None:
    """Raises UserError for what is no language: sentencex would cut it by English rules."""
    if code in LANGUAGES:
        return
    near = _nearest(code.lower().replace("_", "-").partition("-")[0])
    hint = f"; did you mean {near}?" if near else ""
    raise UserError(f"--language {code}: no language code; expected one such as en, de or zh{hint}")


def _nearest(base: str) -> str | None:
    # Names of languages are not like their codes: no hint is better than ch for Chinese.
    if len(base) > 3:
        return None
    # Most codes of three letters (deu) begin with that of two.
    near = [base, base[:2], *get_close_matches(base, sorted(LANGUAGES), n=1)]
    return next((code for code in near if code in LANGUAGES), None)
