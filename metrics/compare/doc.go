// Package compare judges a canary by its primary: a sequential test on counts of requests that may be looked at as
// often as one likes, with stated rates of error. It is pure: what was counted goes in, a new state comes out, and
// what may be done follows from the state alone.
//
// # What is asked
//
// A request is bad when it failed, or when it was slower than an edge. Let c and p be the shares of bad requests of
// canary and primary. Three questions are asked of every metric:
//
//   - Is the canary worse than tolerated? Refute c <= A p + B. A release in which that happens is rolled back.
//   - May the next step have more traffic? Refute c >= p + 0.5: at the present share the canary is no disaster.
//   - Is the canary better than the regression that matters? Refute c >= p + D. Then it may be promoted.
//
// Each question is a null hypothesis, a half-plane in (p, c), and gets a test whose evidence is an e-process: wealth
// that begins at 1 and is not expected to grow while the hypothesis is true. Ville's inequality says that with
// probability 1 - alpha it never reaches 1/alpha then, however often one looks. [Null.LogFactor] is the bet on one
// block of counts, [Test] a mixture of such bets, [Judge] the whole release.
//
// # Sources
//
//   - Turner, Ly, Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional
//     stopping", 2024, and Turner, Grünwald, "Exact anytime-valid confidence intervals for contingency tables and
//     beyond", 2022 (arXiv:2203.09785): the e-variable of a block.
//   - Herbster, Warmuth, "Tracking the best expert", 1998: shares that drift back, so that what begins late is found.
//   - Vovk, Wang, "E-values: calibration, combination and applications", 2021 (arXiv:1912.06116): the mean of
//     e-values is an e-value whatever their dependence, which makes the confidence that of the whole release.
//   - Ville, "Étude critique de la notion de collectif", 1939: the bound on an e-process at every look at once.
//   - Adams et al., "Patterns of intra-cluster correlation from primary care research", 2004: what correlation to
//     expect where nothing is known, 0.005.
package compare
