"""B7: smoothing the correct trajectories only dominates every entropy-regularised policy."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from diffsmooth.theory.statements import _logs
from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._b7 import Counterexample, Dominance, order, prove
from diffsmooth.theory.statements._b7_certificate import certify
from diffsmooth.theory.statements._b7_map import draw
from diffsmooth.theory.statements._b7_numeric import attack, compare
from diffsmooth.theory.statements._steps import rational_identities
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement


def _symbolic(claim: Dominance, budget: Budget) -> Outcome:
    return prove(claim)


def _smt(claim: Dominance, budget: Budget) -> Outcome:
    return order(claim)


def _certified(claim: Dominance, budget: Budget) -> Outcome:
    return certify(claim)


def _instances(budget: Budget) -> Iterator[dict[str, Any]]:
    for base in tab.rational_bases(60 if budget.deep else 12, budget.seed):
        for j in range(base.d + 1):
            for e in (Fraction(1), Fraction(11, 10), Fraction(7)):
                yield {"base": base, "j": j, "exp(1/beta)": e}


def _exact(claim: Dominance, budget: Budget) -> Outcome:
    """The policies themselves, written out as rational laws; every logarithm is formal."""

    def residuals(**instance: Any) -> dict[str, Fraction]:
        base, j, e = instance["base"], instance["j"], instance["exp(1/beta)"]
        p, law, q, f = base.p, base.law(), base.q(j), base.f(j)
        odds = e * sum(Fraction(m) ** j for m in base.correct)
        c = odds / (odds + sum(Fraction(m) ** j for m in base.incorrect))
        entropy, smoothed = base.join(c, q, f), base.join(c, q, base.f(base.d))
        coupled = base.join(c, q, base.f(2 * base.d - j))
        y, ss, sf = _logs.log(e), base.log_mass(base.correct, j), base.log_mass(base.incorrect, j)
        sf_1 = base.log_mass(base.incorrect, base.d)
        sf_sharp = base.log_mass(base.incorrect, 2 * base.d - j)
        kl, kl_f = _logs.divergence, _logs.divergence(f, base.f(base.d))
        kl_sharp = kl(base.f(2 * base.d - j), base.f(base.d))
        kl_s = kl(q, base.q(base.d))
        # The centred rule's fixed point with y = 1/beta: weights b^a exp(y + (1-a) E_q[log b]).
        log_b = _logs.total(x * _logs.log(b) for x, b in zip(q, law, strict=False))
        centred = ss + y + log_b * (1 - Fraction(j, base.d)) - sf_1
        # Strict unless b_F is uniform or a = 1.
        strict = len(set(base.incorrect)) > 1 and j != base.d
        differences = {
            "(i) saving": kl(entropy, law) - kl(smoothed, law) - claim.saving(c, kl_f),
            "(i) saving in forward KL": kl(law, entropy)
            - kl(law, smoothed)
            - claim.forward_saving(p, kl(base.f(base.d), f)),
            "(i) strictness": (kl(entropy, law) - kl(smoothed, law)).sign() - _logs.Logs(strict),
            "(i) the centred rule's logit C": centred
            - claim.centred_logit(_logs.logit(p), y, kl_s),
            "(ii) 1/beta of the literal rule": _logs.logit(c)
            - (ss + (y - claim.reach(sf, sf_1)) - sf_1),
            "(iii) infimum of logit C": ss - sf_1 - claim.floor(ss, sf_1),
            "(iii) price": kl(smoothed, law) - claim.price(_logs.binary_divergence(c, p), c, kl_s),
            "(iv) 1/beta of the coupled rule": _logs.logit(c)
            - (ss + (y - claim.coupled_reach(sf, sf_sharp)) - sf_sharp),
            "(iv) extra cost": kl(coupled, law)
            - kl(entropy, law)
            - claim.coupled_extra(c, kl_sharp, kl_f),
        }
        return {name: value.size() for name, value in differences.items()}

    return rational_identities(
        residuals, _instances(budget), "(i)-(iv) on policies written out as rational laws"
    )


STATEMENT = Statement(
    id="B7",
    title="Smoothing the correct trajectories only dominates entropy regularisation",
    source="corrected",
    reference="paper, Theorem 3.4; theory.md B7",
    assumptions=(
        "finitely many trajectories, b > 0, S and F not empty, reward 1 on S and 0 on F",
        "the entropy-regularised policy in base-surprisal form, a = 1 - g/beta in [0, 1]"
        " (self-entropy form: a = beta/(beta + g), the same policies for a > 0)",
        "diversity is any Schur-concave function; strictly Schur-concave where a literal policy is"
        " said to be less diverse",
        "(iii), only if: b_S is not uniform (if it is, vanilla RL dominates unless pi_ent = b)",
        "literal rule: reward r - g_p log b on S and r + g_n log b on F, g_p, g_n >= 0, beta > 0",
    ),
    latex=(
        r"(i) $\mathrm{KL}(\pi_{\mathrm{ent}}\|b)-\mathrm{KL}(\pi_{\mathrm{cDS}}\|b)"
        r"=(1-C)\,\mathrm{KL}(f_a\|b_F)\geq 0$, with the same $C$ and the same $q_a$; strictly"
        r" unless $b_F$ is uniform or $a=1$; in forward KL the saving is"
        r" $(1-p)\,\mathrm{KL}(b_F\|f_a)$." + "\n\n"
        r"(ii) The literal rule ($g_n=0$) reaches $\pi_{\mathrm{cDS}}$ iff"
        r" $e^{1/\beta}>S_F(a)/S_F(1)$, where $S_X(a)=\sum_X b^a$." + "\n\n"
        r"(iii) Some literal policy is as correct, as diverse and as close to $b$ as"
        r" $\pi_{\mathrm{ent}}$ iff (ii) holds or $\mathrm{KL}(\pi_{\mathrm{ent}}\|b)>"
        r"\mathrm{kl}(C_\infty\|p)+C_\infty\,\mathrm{KL}(q_a\|b_S)$, where"
        r" $\mathrm{logit}\,C_\infty=\log S_S(a)-\log S_F(1)$." + "\n\n"
        r"(iv) The coupled rule ($g_n=g_p$) reaches $(C,q_a)$ iff"
        r" $e^{1/\beta}>S_F(a)/S_F(2-a)$, and then costs"
        r" $(1-C)\,[\mathrm{KL}(f_{2-a}\|b_F)-\mathrm{KL}(f_a\|b_F)]"
        r"=\frac{2}{3}(1-C)(1-a)^3\kappa_3(\log b_F)+\ldots$ more than $\pi_{\mathrm{ent}}$."
    ),
    claim=Dominance(),
    methods=(
        Method("symbolic", _symbolic, note="(i)-(iv), any number of trajectories, all b > 0"),
        Method("smt", _smt, note="(i), (iii), (iv): any number of trajectories (through masses)"),
        Method(
            "exact",
            _exact,
            note="(i), (ii), (iv): rational policies b ∝ m^d, a = j/d, 1-5 trajectories a part",
        ),
        Method(
            "certified",
            _certified,
            note=(
                "(iii): all literal policies g_p, g_n >= 0, beta > 0 against one entropy "
                "policy, and"
                " a box of bases, exponents and 1/beta around it"
            ),
        ),
        Method("random", compare, note="the library: 2-12 trajectories, 1/16 <= 1/beta <= 16"),
        Method("adversarial", attack, note="all literal policies; bases with 2 + 2 trajectories"),
    ),
    mutants=(
        Mutant(
            "the saving weighs the correct mass",
            Dominance(saving=lambda c, kl_f: c * kl_f),
            ("symbolic", "exact", "random"),
        ),
        Mutant(
            "the condition of (ii) upside down",
            Dominance(reach=lambda sf_a, sf_1: sf_1 - sf_a),
            ("symbolic", "smt", "exact"),
        ),
        Mutant(
            "Theorem 3.4 as we read it: a literal policy always dominates",
            Dominance(dominated=lambda y, reach, kl, price: True),
            ("certified", "adversarial"),
        ),
        Mutant(
            "(ii) is necessary for domination",
            Dominance(dominated=lambda y, reach, kl, price: bool(y > reach)),
            "certified",
        ),
        Mutant(
            "the coupled rule costs no more than the uncoupled one",
            Dominance(coupled_extra=lambda c, sharp, flat: (1 - c) * (0 * sharp - flat)),
            ("symbolic", "exact", "certified"),
        ),
        Mutant(
            "the counterexample's KL bound is a little higher",
            Dominance(counterexample=Counterexample(literal_kl=Fraction(60, 1000))),
            ("certified", "adversarial"),
        ),
        Mutant(
            "the centred rule ends at the vanilla correctness",
            Dominance(centred_logit=lambda logit_p, y, kl_s: logit_p + y),
            ("symbolic", "exact"),
        ),
    ),
    limits=(
        "Strictly larger C within the same budget needs a saving: b_F not uniform and a < 1 (or"
        " C < p). Strictly larger D needs in addition a > 0 and b_S not uniform: at a = 0 the"
        " correct part is uniform already. The certificate of (iii) is one base policy and a box"
        " around it; the criterion of (iii) is proved for every size."
    ),
    correction=(
        "As we read it, Theorem 3.4 says that for every entropy-regularised policy inside a"
        " divergence budget a literal DS policy inside it is at least as correct and as diverse."
        " It is false: literal smoothing cannot be had without pushing correctness to C_inf, and"
        " where the budget does not pay for C_inf nothing literal dominates. The criterion of"
        " (iii) is exact. Centring the term within the correct trajectories removes the condition"
        " altogether: the centred rule ends at logit C = logit p + 1/beta - KL(q_a||b_S), whose"
        " limit at large beta is the cheapest C of all, so it dominates every entropy policy with"
        " beta alone, no constant needed (where b_F is uniform and C is just that limit: up to any"
        " error)."
    ),
    figure=draw,
)
