"""Which speakers of TIMIT's folder `TEST` are for what."""


def _speakers(listing: str) -> tuple[str, ...]:
    """Names such as `dr1-mdab0`, from a line for each dialect region."""
    regions = enumerate(listing.strip().splitlines(), 1)
    return tuple(f"dr{k}-{name}" for k, line in regions for name in line.split())


# The core test set of TIMIT's file testset.doc: two men and a woman of each region.
CORE_TEST = _speakers(
    """
    mdab0 mwbt0 felc0
    mtas1 mwew0 fpas0
    mjmp0 mlnt0 fpkt0
    mlll0 mtls0 fjlm0
    mbpm0 mklt0 fnlp0
    mcmj0 mjdh0 fmgd0
    mgrt0 mnjm0 fdhc0
    mjln0 mpam0 fmld0
    """
)
# The development set in general use, as in Kaldi and in the code of Bellec et al. (2020).
DEVELOPMENT = _speakers(
    """
    faks0 fdac1 fjem0 mjsw0 mreb0
    mgwt0 mjar0 mmdb1 mmdm2 mpdf0
    fcmh0 fkms0 mbdg0 mbwm0 mcsh0 mgjf0 mglb0 mmjr0 mmwh0 mrtk0 mtaa0 mtdt0 mthc0 mwjg0
    fadg0 fdms0 fedw0 fgjd0 fjmg0 fnmr0 frew0 fsem0 mbns0 mdls0 mroa0 mteb0
    fcal1 fmah0 mrws1
    fdrw0 mjfc0 mrjr0
    fmml0 mdlf0 mdvc0 mers0 mrcs0 mrjm4
    fjsj0 majc0
    """
)
