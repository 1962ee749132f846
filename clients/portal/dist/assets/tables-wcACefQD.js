const e={version:`3.29.0`,licenses:`
00BSD 03D-Slicer-1.0 0AAL 1DSL 1FL-1.1 62 42.0 61 43.0 1GPL-1.0 8-only ar-later 53.0 8-only ar-later
1LGLIB-Documentation 1MD-newlib 3PLPA 2L 3-glslang 2PAS 1NTLR-PD 8-fallback 1PAFML 2L-1.0 2SL-1.0 71
72 52.0 1SWF-Digital-Assets-1.0 m1 1bstyles 1daCore-doc 2obe-2006 6Display-PostScript 6Glyph 6Utopia
2vanced-Cryptics-Dictionary 1fmparse 1laddin 1pache-1.0 91 72.0 2p-s2p 1rphic-1999 2tistic-1.0
c-Perl dcl8 92.0 9dist 1spell-RU 0BOLA-1.1 1SD-1-Clause 42-Clause c-Darwin dFreeBSD dNetBSD dPatent
dViews dfirst-lines dpkgconf-disclaimer eos-unchanged 43-Clause c-Attribution dClear dHP dLBNL
dModification dNo-Military-License gNuclear-License v-2014 oWarranty dOpen-MPI hWebUI dSun dTso
dacpica dflex 44-Clause c-Shortened dUC 5.3RENO 7TAHOE 4Advertising-Acknowledgement
5ttribution-HPND-disclaimer 4Inferno-Nettverk 4Mark-Modifications 4Protection 4Source-Code
f-no-disclaimer balt-GPL bbeginning-file 5ystemics d-W3Works 4ask-to-endorse 2L-1.0 1USL-1.1 1aekmuk
2hyph 2rr 1eerware 1itTorrent-1.0 d1 3stream-Charter aVera 1lueOak-1.0.0 1oehm-GC 8-without-fee
2rceux 1rian-Gladman-2-Clause e3-Clause m-no-conversion 1uddy 2groff 0C-UDA-1.0 1AL-1.0
7-Combined-Work-Exception 2PEC-tou 2TOSL-1.1 1C-BY-1.0 62.0 85 9-AU 63.0 9-AT bU aDE aIGO aNL aUS
64.0 6NC-1.0 92.0 b5 93.0 c-DE dIGO 94.0 9ND-1.0 c2.0 e5 c3.0 f-DE gIGO c4.0 9SA-1.0 c2.0 f-DE gFR
gUK e5 c3.0 f-DE gIGO c4.0 7D-1.0 92.0 b5 93.0 c-DE 94.0 6SA-1.0 92.0 c-UK b1-JP b5 93.0 c-AT dDE
dIGO 94.0 3PDDC 5M-1.0 3SA-1.0 20-1.0 1DDL-1.0 71 2L-1.0 3A-Permissive-1.0 g2.0 5Sharing-1.0
1ECILL-1.0 91 72.0 91 7B 7C 2RN-OHL-1.1 b2 9P-2.0 9S-2.0 9W-2.0 1FITSIO 1MU-Mach 8-nodoc 1NRI-Jython
5Python b-GPL-Compatible 1OIL-1.0 1PAL-1.0 2L-1.0 2OL-1.02 1UA-OPL-1.0 1aldera 7-no-preamble 2tharon
1lArtistic 2ips 1ommunity-Spec-1.0 2ndor-1.1 2rnell-Lossless-JPEG 1ronyx 3ssword 2yptoSwift
3stalStacker 1ube 0D-FSL-1.0 1EC-3-Clause 1L-DE-BY-2.0 6ZERO-2.0 1OC 1RL-1.0 61 1SDP 1ocBook-DTD
8Schema 9tylesheet 8XML 2tseqn 0ECL-1.0 42.0 1FL-1.0 42.0 1PICS 2L-1.0 42.0 1SA-PL-permissive-2.4
7strong-copyleft-2.4 7weak-copyleft-2.4 1UDatagrid 2PL-1.0 71 72 1lastic-2.0 1ntessa 1rlPL-1.1
1urosym 0FBM 1DK-AAC 4MPEG-H 1SFAP 5-no-warranty-disclaimer 3UL 5LR 7SD 7WD 2L-1.1-ALv2 8MIT 1TL
1air 1erguson-Twofish 1rameworx-1.0 2eeBSD-DOC 4Image 1uruseth 0GCR-docs 1D 1FDL-1.1
8-invariants-only lr-later 9no-invariants-only or-later 9only ar-later 72 8-invariants-only lr-later
9no-invariants-only or-later 9only ar-later 73 8-invariants-only lr-later 9no-invariants-only
or-later 9only ar-later 1L2PS 2WTPL 1PL-1.0 7-only 9r-later 42.0 7-only 9r-later 8with-GCC-exception
dautoconf-exception dbison-exception dclasspath-exception dfont-exception 43.0 7-only 9r-later
8with-GCC-exception dautoconf-exception 1ame-Programming-Gems 1iftware 1lide 2ulxe 1raphics-Gems
1utmann 0HDF5 1IDAPI 1P-1986 69 2ND 4-DEC 5Fenneberg-Livingston 5INRIA-IMAG 6ntel 5Kevlin-Henney
5MIT-disclaimer 6arkus-Kuhn 5Netrek 5Pbmplus 5SMC 5UC 7-export-US 5doc 8-sell 5export-US
e-acknowledgement fmodify b2-US 5merchantability-variant 5sell-MIT-disclaimer-xserver aregexpr
avariant h-MIT-disclaimer w-rev icritical-systems 1TMLTIDY 1askellReport 1ippocratic-2.1 c3.0-core
0IBM-pibs 1CU 1EC-Code-Components-EULA 1JG 3-short 1PA 2L-1.0 1SC 3-Veillard 2O-permission
1mageMagick 2lib2 1nfo-ZIP 4rmatica 2ner-Net-2.0 3oSetup 2tel 5-ACPI 4rbase-1.0 0JPL-image 2NIC 1SON
1am 2sPer-2.0 0Kastrup 2zlib 1nuth-CTAN 0LAL-1.2 63 1GPL-2.0 8-only ar-later 71 8-only ar-later 53.0
8-only ar-later 4LR 1OOP 1PD-document 2L-1.0 72 2PL-1.0 71 72 73a 8c 1ZMA-SDK-9.11-to-9.20 b22
1atex2e 7-translated-notice 1eptonica 1iLiQ-P-1.1 6R-1.1 7plus-1.1 2bpng 2nux-OpenIB
6man-pages-1-para gcopyleft o-2-para pvar 1ucida-Bitmap-Fonts 0MIPS 2T 3-0 4CMU 5lick 4Festival
4Khronos-old 4Modern-Variant 4STK 4Wu 4advertising 4enna 4feh 4open-group 4testregex 3NFA 1MIXware
2PL-1.0.1 1PEG-SSG 2L-1.0 61 42.0 7-no-copyleft-exception 1S-LPL 3PL 3RL 1TLL 1VT-1.1
1ackerras-3-Clause i-acknowledgment 2keIndex 2rtin-Birgmeier 1cPhee-slideshow 1inpack 2rOS 1otosoto
1ulanPSL-1.0 92.0 3tics 2p 0NAIST-2003 2SA-1.3 1BPL-1.0 1CBI-PD 2GL-UK-2.0 2L 2SA 1GPL 1ICTA-1.0
2ST-PD 7-TNT 8fallback 5Software 1LOD-1.0 52.0 2PL 1OSL 1PL-1.0 61 2OSL-3.0 1RL 1TIA-PD 2P 3-0
1aumen 1et-SNMP 3CDF 2wsletr 1okia 2web 1unit 0O-UDA-1.0 1AR 1CCT-PL 2LC-2.0 1DC-By-1.0 2bL-1.0
1FFIS 2L-1.0 7-RFN 8no-RFN 61 7-RFN 8no-RFN 1GC-1.0 2DL-Taiwan-1.0 2L-Canada-2.0 4UK-1.0 72.0 73.0
2TSL 1LDAP-1.1 82 83 84 62.0 9.1 81 82 9.1 a2 83 84 85 86 87 88 2FL-1.3 1ML 1PL-1.0 4UK-3.0 2UBL-1.0
1SC-1.0 2ET-PL-2.1 2L-1.0 61 42.0 61 43.0 2SP 1penMDW-1.0 4PBS-2.3 4SSL 7-standalone 4Vision 0PADL
1DDL-1.0 1HP-3.0 71 1PL 1SF-2.0 1araType-Free-Font-1.3 3ity-6.0.0 77.0.0 1ixar 1lexus
1olyForm-Noncommercial-1.0.0 9Small-Business-1.0.0 2stgreSQL 1ython-2.0 a.1 0QPL-1.0 7-INRIA-2004
1hull 0RHeCos-1.1 1PL-1.1 65 2SL-1.0 1SA-MD 2CPL 1disc 1uby 4-pty 0SAX-PD 6-2.0 1CEA 1GI-B-1.0 81
62.0 4OpenGL 2MLUG-PM 2P4 1HL-0.5 71 1ISSL 5-1.2 1L 1MAIL-GPL 2LNJ 2PPL 1NIA 1OFA 1PL-1.0
1SH-OpenSSH 4short 2Leay-standalone 2PL-1.0 1UL-1.0 1WL 1axpath 1chemeReport 1endmail 8-8.23
9Open-Source-1.1 1imPL-2.0 1leepycat 1oundex 1pencer-86 894 99 1tandardML-NJ 1ugarCRM-1.1.3 2n-PPP
7-2000 3Pro 1ymlinks 0TAPR-OHL-1.0 1CL 2P-wrappers 1GPPL-1.0 1Mate 1ORQUE-1.1 2SL 1PDL 2L-1.0 1TWL
2YP0 1U-Berlin-1.0 a2.0 1ekHVC 2rmReadKey 1hirdEye 1rustedQSL 0UCAR 2L-1.0 1Mich-Merit 1PL-1.0
1RT-RLE 1buntu-font-1.0 1nRAR 2icode-3.0 8DFS-2015 f6 8TOU 3xCrypt 2license 9-libtelnet dwhirlpool
0VOSTROM 1SL-1.0 1im 2xie-Cron 0W3C 3-19980720 420150513 1TFNMFPL 3PL 1atcom-1.0 1idget-Workshop
1ordNet 1suipa 0X11 3-distribute-modifications-variant 4no-permit-persons 4swapped 1Free86-1.1 1Skat
1debug-1.03 1erox 1fig 1net 0YPL-1.0 61 0ZPL-1.1 42.0 61 1ed 2eff 2nd-2.0 1imbra-1.3 94 1lib
0any-OSI 7-perl-modules 1tc-game 0bcrypt-Solar-Designer 1lessing 1zip2-1.0.5 a6 0check-cvs 5mk
1opyleft-next-0.3.0 i1 1url 1ve-tou 0diffmark 1toa 1vipdfm 0eCos-2.0 1Genix 1talab-2.0 0fwlw
0gSOAP-1.3b 1eneric-xts 1nuplot 1tkbook 0hdparm 1yphen-bulgarian 0iMatix 0jove 0libpng-1.6.35 72.0
3selinux-1.0 3tiff 3util-David-Nugent 1sof 0magaz 2ilprio 2n2html 1etamail 1pi-permissive 3ch2 2lus
0ngrep 0pkgconf 1nmstitch 1sfrag 2utils 1ython-ldap 0radvd 0snprintf 1oftSurfer 1sh-keyscan 1wrule
0threeparttable 0ulem 0w3m 1wl 1xWindows 0xinetd 1keyboard-config-Zinoviev 1lock 1pp 1zoom
0zlib-acknowledgement
`,exceptions:`
0389-exception 0Asterisk-exception 9linking-protocols-exception 1utoconf-exception-2.0 j3.0 jgeneric
q-3.0 jmacro 0Bison-exception-1.24 g2.2 1ootloader-exception 0CGAL-linking-exception
1LISP-exception-2.0 1lasspath-exception-2.0 n-short 0DigiRule-FOSS-exception
4a-Qt-LGPL-exception-1.1 0FLTK-exception 1awkes-Runtime-exception 1ont-exception-2.0
0GCC-exception-2.0 h-note e3.1 1NAT-exception 2OME-examples-exception 2U-compiler-exception
1PL-3.0-389-ds-base-exception 8interface-exception 8linking-exception gsource-exception 4CC-1.0
1Streamer-exception-2005 n8 1msh-exception 1oogle-Patent-WebM 0Independent-modules-exception
0KiCad-libraries-exception 0LGPL-3.0-linking-exception 1LGPL 2VM-exception 1ZMA-exception
1ibtool-exception 2nux-syscall-note 0OCCT-exception-1.0 2aml-LGPL-linking-exception
1penJDK-assembly-exception-1.0 0PCRE2-exception 1S-or-PDF-font-exception-20170817
0QPL-1.0-INRIA-2004-exception 1t-GPL-exception-1.0 3LGPL-exception-1.1 1wt-exception-1.0
0RRDtool-FLOSS-exception-2.0 0SANE-exception 1HL-2.0 61 1WI-exception 1imple-Library-Usage-exception
1pelling-Provider-LGPL-exception 1wift-exception 0Texinfo-exception 0UBDL-exception
1niversal-FOSS-exception-1.0 0WxWindows-exception-3.1 0cryptsetup-OpenSSL-exception
0eCos-exception-2.0 1rlang-otp-linking-exception 0fmt-exception 1reertos-exception-2.0
0gnu-javamail-exception 0harbour-exception 0i2p-gpl-java-exception 0kvirc-openssl-exception
0libpri-OpenH323-exception 0mif-exception 1xml-exception 0openvpn-openssl-exception
0polyparse-exception 0romic-exception 1sync-linking-exception 0sqlitestudio-OpenSSL-exception
1tunnel-exception 0u-boot-exception-2.0 0vsftpd-openssl-exception 0x11vnc-openssl-exception
`},t={version:`iso-3166 4.4.0`,countries:`
AD 02~08
AE aJZdUfUrKsHuQ
AF baLMdGSgLdaYfrAyBghAOheLRjoWkaBNPdZhOnRlaGoGnaNiMuRpaNRiAkAsaMRtaKurUwaRzaB
AG 03~08 21011
AI
AL 01~12
AM aGRVeRgRkTlOsHUtVvD
AO bgOUiEcaBcUnNOuShuAIlnOsUuAmaLoXnaMuiGzaI
AQ
AR ABCDEFGHJKLMNPQRSTUVWXYZ
AS
AT 1~9
AU nTsAwA acTnsWqlDtaSviC
AW
AX
AZ bAgAlAmInAVXsAMRxAyE abSgACMSUsTbaBLReYiLcaBLuLdaSfuZgaDoRYyGhaCimIsMkaLNuRlaCNeRmaSneFogUrDqaBXZbAIoBuSsaBDHKLRTbNiYkRmIXuStaRoVucAxaCcIiZvDyaReVzaNQR
BA biHrCsrP
BB 01~11
BD 01~64 ABCDEFGH
BE brUvaNbRlGIoVwVwaLbRhTlGXnA
BF 01~13 baLMNZgRlGKcoMgaNnAoUhoUioBkaDeNmDPoPSTWleRoRmoUnaMOYoUouBDpaSoNseNiSmTnGoMRtaPuIyaGTziRoNU
BG 01~28
BH 13~15 217
BI bBLMRcAIgIkIRYmAUWYnGrMTY
BJ aKLQbOcOdOkOlImOoUpLzO
BL
BM
BN bEMtEU
BO BCHLNOPST
BQ bOsAE
BR aCLMPbAcEdFeSgOmAGSTpABEIRrJNORSsCEPtO
BS aKbIPYcEIKOSeGXfPgChITiNlImCGInEOPSrCIsAEOSWwG
BT 11~15 21~24 31~34 41~45 gAtY
BV
BW cEHfRgAHjWkGLWlOnEWsEOPT
BY bRhMORmAIvI
BZ bZcYoWsC czLtoL
CA aBbCmBnBLSTUoNpEqCsKyT
CC
CD bCUeQhKLUiTkCEGLNSlOUmANOnKUsAKUtAOU
CF aCbBKhKMSkBGlBmBPnMoPsEuKvK bgF
CG 11~16 7~9 bzV 125
CH aGIRbELSfRgELRjUlUnEWoWsGHOZtGIuRvDSzGH
CI aBbScMdNgDlCGmGsMVvBwRyMzZ
CK
CL aINPRTbIcOlILRmALnBrMtAvS
CM aDcEeNSlTnOWoUsUW
CN aHbJcQfJgDSXZhABEIKLNjLSXlNmOnMXqHsCDHNXtJWxJZyNzJ
CO dC amAnTrAtLboLYcaLQSUeShOoRuNguAVhuIlaGmaGeTnaRsApuTquIriSsaNPuCtoLvaCUiD
CR ACGHLP sJ
CU 03~16 20199
CV BS bRVcAFRmAOpANRrBGSsDFLMOSVtAS
CW
CX
CY 01~06
CZ 201~209 311~317 321~327 411~413 421~427 511~514 521~525 531~534 631~635 641~647 711~715 721~724 801~806 21020313241425152536364717280 320A20B20C
DE bBEWYhBEHmVnIWrPsHLNTtH
DJ aRSdIJoBtA
DK 81~85 3015020025030035040042050055060065070076080101147
DM 02~11
DO 01~42
DZ 01~58
EC ABCDEFGHILMNOPRSTUWXYZ sDE
EE 430~432 2373945505256606468717479818487 3130141142171184191198205214245247251255272283284291293296303305317321338353424441442446478480486503511514528557567586615618622624638651653661663668689698708712714719726732735784792793796803809824834855890897899901903907917919928
EG C bAHdKTgHZiSjSkBNlXmNT alXsNTbnSfyMkfSmnFptSshGRiNuZwaD
EH
ER aNdKUgBmAsK
ES ABCHJLMOPSTVZ aBLNRSVbAIUcABCELMNORSTUeXgACIRUhUiBlEOUmACDLUnACoRpMOVrIsAEGOStEFOvACIzA
ET aAFMbEdDgAhAoRsINOWtI
FI 01~19
FJ 01~14 CENRW
FK
FM ksApnItrKyaP
FO
FR 01~19 21~29 30~69 70~74 76~95 971~974 bLcPmFnCpFMtFwF arAbfCrEcvLgeShdFidFnaQoRocCpaCdL 22A2B 320R69M6AE75C976
GA 1~9
GB abCDEgBYnDNSbaSbDcPdFGeNXfSgEWiRkMnEHSoLpLrCDYsTuRcaMYbFcGgNhEWlDKmADNoNVrFYwYdaLbYeNRVgYnCDoRrSuDReaLWYdHUlNSnFGrWYsSXfaLiFlNmOgaTbNlGSrEwNhaLMVcKeFiLlDmFnSpLrTWYioSWsLvCkeCNhLiRtTwLlaNbCHcEdSeCWiNVnDuTmaNdBWeAiKlNoNrTYtYuLnaYbLeLTfKgMiRlKNmDnHsMtLTYwMPyKolDrKxFpeMkNlYoRWtErcCHTdBGfWiCoTuTsaWYcBTfKTgChFNRkPlFGKnDoLMSrYtEGHNSTYwADKtaMfWhRoBFrFwHukMvgLwaRbKdUfTgNiLkFlLNSVnDHMoKRrLTXsMXyoRzeT
GD 01~06 210
GE aBJgUiMkAKmMrLsJKZtB
GF
GG
GH aAFHbAEOcPePnEPoTsVtVuEWwNP
GI
GL aVkUqETsM
GM BLMNUW
GN BCDFKLMN bEFKcOdBILUfAORgAUkABDENOSlAEOmCDLMnZpIsItEOyO
GP
GQ CI aNbNScSdJkNlIwN
GR ABCDEFGHIJKLM 269
GS
GT 01~22
GU
GW LNS bALMScAgAoIqUtO
GY bAcUdEeBSmApMTuDT
HK
HM
HN aTcHLMPRePfMgDiBNlEPoCLsBvAyO
HR 01~21
HT aRcEgAnDEIOoUsDE
HU bACEKUZcSdEUeGRfEgSYhBEVjNkEMVmInKOYpESsDFHKNOSTZtBOvAEMzAE
ID aCbABETgOjABIKTWkABIRSTUlAmALUnBTUpABDEPSTrIsABGLMNRSTUyO
IE CDGLMU cENOWdLkEKYlDHKMSmHNOoYrNsOtAwDHWX
IL DMZ hAjMtA
IM
IN aNPRSbRcGHdHLgAJhPRjHKkALlADmHLNPZnLoDpBYrJsKtNRSuKPwB
IO
IQ aNRbABGdAIQkAIRmAUnAIqAsDUwA
IR 00~30
IS 1~8 akNUrNsAblAoGLdaBVeoMyFfjDLlARgaRoGrNUYhaFrGUuGVvAEisAkaLjOoPlaNmoSuLyRnoRrgEYhHkNVsbTdNVeLfAhFkFGORnFoGLsStRYvGtaLhGjOveMRoP
IT aGLNPQRTVbAGILNORSTZcABEHLNORSTZeNfCEGIMRgEORiMSkRlCEIOTUmBCEINOSTnAOUoRpACDEGINORTUVZrACEGIMNOsAIOPRSUVtAENOPRSVuDvABCEIRTV 22123253234364245525557626567727577788288
JE
JM 01~14
JO aJMQTZbAiRjAkAmADN
JP 01~47
KE 01~47
KG BCJNOTY gBO
KH 10~19 20~25 3~9 112
KI GLP
KM AGM
KN 01~13 KN 215
KP 01~10 13~15
KR 26~31 41~50 211
KW aHfAhAjAkUmU
KY
KZ 61~63 21011151923273133353943475559717579
LA aTbKLcHhOkHlMPoUpHsLVvITxAEIS
LB aKSbAHIjALnA
LC 01~03 05~08 10~12
LI 01~11
LK 11~13 21~23 31~33 41~45 51~53 1123456789 26162717281829192
LR bGMcMgBGKPlOmGOYnIrGIsI
LS ABCDEFGHJK
LT 01~60 aLkLUmRpNsAtAEuTvL
LU DGL cALdIeCSgRlUmErDMvDwI
LV 087~089 111~113 dgVjeLuRlpXreZiXveN 3002007011015016022026033041042047050052054056058059062067068073077080091094097099101102106
LY bAUdRgTjAGIUkFmBIJQnLQsBRtBwADSzA
MA 01~12 agDoUsZzIbeMRSoDMrRcaShEITdrIerRsIMfaHeSiGqHguEFhaJOoCifRnEjdIrAkeNShENOlaARmaRdFeDKiDoHUnaDoUouADJZraBeHsaFLeFTiBFKLkHtaFIORTZeTiNZnGTyuSzaG
MC cLOfOgAjElAmACGOUpHsDOPRvR
MD aNbADRScALMRSTUdORUeDfALgALhIiAlEnIoCRrEIsDINOTVtAEuN
ME 01~25
MF
MG ADFMTU
MH LT alKLrNuRebOnIjaBLkiLwAlaEiBKmaJLeJiLnmKUroNujAtIwtHJ
MK 101~109 201~211 310~313 401~410 501~509 601~609 701~706 801~817 3301303304307308
ML 2~9 bkO 11 210
MM 01~07 11~18
MN 063~065 11 3035037039041043046047049051053055057059061067069071073
MO
MP
MQ
MR 01~15
MS
MT 01~68
MU aGbLcCfLgPmOpALWrORsA
MV 00~05 12~14 23~29 mlE 207081720
MW CNS bALcKRTdEOkRSlIKmCGHUWZnBEIKSUpHrUsAtHzO
MX agUbcNScaMhHPmXoALduRgrOuAhiDjaLmeXiCoRnaYlEoaXpuEquEroOsiNlPoNtaBMlAveRyuCzaC
MY 01~16
MZ ABGILNPQST mpM
NA cAeRhAkAEHUWoDHNSTW
NC
NE 1~8
NF
NG aBDKNbAEOYcRdEeBDKNfCgOiMjIkDENOTWlAnAIoGNSYpLrIsOtAyOzA
NI aNSbOcAIOeSgRjIlEmDNSTnSrIsJ
NL aWcWdRfLRgERlInBHoVsXuTzEH 3BQ1BQ2BQ3
NO 203111518212230343842465054
NP 2P1P2P3P4P5P6P7
NR 01~14
NU
NZ auKboPcaNiTgiShkBmbHwTnsNtLotAstLtaSkIwgNkOtC
OM bJSUdAmAUsJSwUzAU
PA 2~9 eMkYnBT 11 210
PE amAnCpUrEyAcaJLuShuCVicAjuNlaLMiMmAoRmdDoQpaSiUuNsaMtaCuMucA
PF
PG cpKMebRhGpWsWgpKhlAjwKmbApLMrLncDiKpPsBsaNhMwbKhMpD
PH 00~03 05~15 abRgNSkLlBnTpAuRbaNSeNiLoHtGNuKLcaGMNPSTVeBoMdaOSViNvOeaSguIifUlINSsAkaLlaGNSeYuNmaDSdCRgNSoUsCRncOeCRsAuEVpaMNlWquEIriZoMsaRcOiGlEUoRuKNRtaRWwsAzaNSmBsI 24041
PK bAgBiSjKkPpBsDtA
PL 202040608101214161820222426283032
PM
PN
PR
PS btHdeBgzAhbNjeMNrHkySnbSgZqqArbHfHslTtbSkM
PT 01~18 22030
PW 226~228 3002004010050100150212214218222224350370
PY 10~16 2~9 asU 11 219
QA dAkHmSrAsHuSwAzA
RE
RO B aBGRbCHNRTVZcJLSTVdBJgJLRhDRiFLSmHMSnToTpHsBJMVtLMRvLNS
RS 00~29 kMvO
RU aDLbAUcEUdAiNkBCKLORmEOsAEtAYuD alTmUrKsTbeLrYchEUirKvAkaMdAeMgDNhAMiRlUoSrSyAleNiPmaGoSWuRneNgRiZvSomSrELpeRnZrIsKroSyAsaKMRmOpEtAvEtaMoMuLvEyUulYvgGlAGoRyaNReVzaB
RW 01~05
SA 01~12 214
SB cEHTgUiSmKLrBtEwE
SC 01~27
SD dCENSWgDKZkAHNSnBORWrSsI
SE CDEFGHIKMNOSTUWXYZ aBCbD
SG 01~05
SH aChLtA
SI 001~144 146~213
SJ
SK bCLkInIpVtACzI
SL ENSW nW
SM 01~09
SN dBKfKkADELlGmTsELtCHzG
SO aWbKNRYgAEhIjDHmUnUsADHOtOwO
SR bRcMRmAnIpMRsAIwA
SS bNWeCEWjGlKnUuYwR
ST 01~06 P
SV aHcAHUlImOpAsAMOSVuNS
SX
SY dIRYhAILMiDlAqUrADsUtA
SZ hHlUmAsH
TC
TD bAGOcBeEOgRhLkAlCORmACEOnDoDsAItAIwF
TF
TG CKMPS
TH 10~27 30~58 60~67 70~77 80~86 90~96 S
TJ dUgBkTrAsU
TK
TL aLNbAOcOdIeRlAImFToEvI
TM ABDLMS
TN 11~14 21~23 31~34 41~43 51~53 71~73 81~83 261
TO 01~05
TR 01~81
TT arIchAtTdmNmrCpeDoSrTtFsfOgEiPjLtoBuP
TV fuNniTkFLmAGuIvaI
TW chAyIQhsQZuAilAkeEhHiNliEmiAnaNwTpeNiFtaOnNpEtTxGyuN
TZ 01~31
UA 2050709121418212326303235404346485153565961636568717477
UG 101~126 201~237 301~337 401~435 CENW
UM 2677176798184868995
US aKLRSZcAOTdCEfLgAUhIiADLNkSYlAmADEINOPSTnCDEHJMVYoHKRpARrIsCDtNXuMTvAITwAIVY
UY aRcALOdUfDSlAmAOpArNOVsAJOtAT
UZ aNbUfAjInGWqARsAIUtKOxO
VA
VC 01~06
VE ABCDEFGHIJKLMNOPRSTUVWXYZ
VG
VI
VN 01~07 20~37 39~41 43~47 49~59 66~73 cTdNhNPsG 2091314186163
VU maPpaMsaMeEtaEoB
WF aLsGuV
WS aALTfAgEIpAsAtUvFS
YE aBDMbAdAHhDJUiBjAlAmARWrAsADHNUtA
YT
ZA eCfSgPlPmPnCWwC kzN
ZM 01~10
ZW bUhAmACEINSVW
`},n={version:`2026-11-29`,regions:`
aws:af-south-1 ZA-WC
aws:ap-east-1 HK
aws:ap-east-2 TW
aws:ap-northeast-1 JP-13
aws:ap-northeast-2 KR
aws:ap-northeast-3 JP-27
aws:ap-south-1 IN-MH
aws:ap-south-2 IN
aws:ap-southeast-1 SG
aws:ap-southeast-2 AU-NSW
aws:ap-southeast-3 ID
aws:ap-southeast-4 AU-VIC
aws:ap-southeast-5 MY
aws:ap-southeast-6 NZ
aws:ap-southeast-7 TH
aws:ca-central-1 CA-QC
aws:ca-west-1 CA-AB
aws:cn-north-1 CN-BJ
aws:cn-northwest-1 CN-NX
aws:eu-central-1 DE-HE
aws:eu-central-2 CH-ZH
aws:eu-north-1 SE
aws:eu-south-1 IT
aws:eu-south-2 ES
aws:eu-west-1 IE
aws:eu-west-2 GB
aws:eu-west-3 FR
aws:eusc-de-east-1 DE-BB
aws:il-central-1 IL
aws:me-central-1 AE
aws:me-south-1 BH
aws:mx-central-1 MX-QUE
aws:sa-east-1 BR-SP
aws:us-east-1 US-VA
aws:us-east-2 US-OH
aws:us-gov-east-1 US-OH
aws:us-gov-west-1 US-OR
aws:us-west-1 US-CA
aws:us-west-2 US-OR
azure:australiacentral AU-ACT
azure:australiacentral2 AU-ACT
azure:australiaeast AU-NSW
azure:australiasoutheast AU-VIC
azure:austriaeast AT
azure:belgiumcentral BE
azure:brazilsouth BR-SP
azure:brazilsoutheast BR-RJ
azure:canadacentral CA-ON
azure:canadaeast CA-QC
azure:centralindia IN-MH
azure:centralus US-IA
azure:chilecentral CL-RM
azure:chinaeast CN-SH
azure:chinaeast2 CN-SH
azure:chinanorth CN-BJ
azure:chinanorth2 CN-BJ
azure:chinanorth3 CN-HE
azure:eastasia HK
azure:eastus US-VA
azure:eastus2 US-VA
azure:francecentral FR
azure:francesouth FR
azure:germanynorth DE-BE
azure:germanywestcentral DE-HE
azure:indonesiacentral ID
azure:israelcentral IL
azure:italynorth IT
azure:japaneast JP
azure:japanwest JP-27
azure:koreacentral KR
azure:koreasouth KR
azure:malaysiawest MY
azure:mexicocentral MX-QUE
azure:newzealandnorth NZ-AUK
azure:northcentralus US-IL
azure:northeurope IE
azure:norwayeast NO
azure:norwaywest NO
azure:polandcentral PL
azure:qatarcentral QA
azure:southafricanorth ZA-GP
azure:southafricawest ZA-WC
azure:southcentralus US-TX
azure:southeastasia SG
azure:southindia IN-TN
azure:spaincentral ES
azure:swedencentral SE
azure:switzerlandnorth CH-ZH
azure:switzerlandwest CH-GE
azure:uaecentral AE
azure:uaenorth AE
azure:uksouth GB
azure:ukwest GB
azure:usgovarizona US-AZ
azure:usgovtexas US-TX
azure:usgovvirginia US-VA
azure:westcentralus US-WY
azure:westeurope NL
azure:westindia IN-MH
azure:westus US-CA
azure:westus2 US-WA
azure:westus3 US-AZ
gcp:africa-south1 ZA-GP
gcp:asia-east1 TW
gcp:asia-east2 HK
gcp:asia-northeast1 JP-13
gcp:asia-northeast2 JP-27
gcp:asia-northeast3 KR
gcp:asia-south1 IN-MH
gcp:asia-south2 IN-DL
gcp:asia-southeast1 SG
gcp:asia-southeast2 ID
gcp:australia-southeast1 AU-NSW
gcp:australia-southeast2 AU-VIC
gcp:europe-central2 PL
gcp:europe-north1 FI
gcp:europe-north2 SE
gcp:europe-southwest1 ES
gcp:europe-west1 BE
gcp:europe-west10 DE-BE
gcp:europe-west12 IT
gcp:europe-west2 GB
gcp:europe-west3 DE-HE
gcp:europe-west4 NL
gcp:europe-west6 CH-ZH
gcp:europe-west8 IT
gcp:europe-west9 FR
gcp:me-central1 QA
gcp:me-central2 SA
gcp:me-west1 IL
gcp:northamerica-northeast1 CA-QC
gcp:northamerica-northeast2 CA-ON
gcp:northamerica-south1 MX-QUE
gcp:southamerica-east1 BR-SP
gcp:southamerica-west1 CL
gcp:us-central1 US-IA
gcp:us-east1 US-SC
gcp:us-east4 US-VA
gcp:us-east5 US-OH
gcp:us-south1 US-TX
gcp:us-west1 US-OR
gcp:us-west2 US-CA
gcp:us-west3 US-UT
gcp:us-west4 US-NV
`};export{n as CLOUD_REGIONS,t as ISO3166,e as SPDX};