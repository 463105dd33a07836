/* SPDX-License-Identifier: Apache-2.0 */
/** Put before every file by cppcheck only: macros of system headers that it does not read. */
#define TAILQ_FOREACH(v, h, f) for ((v) = (h)->tqh_first; (v); (v) = (v)->f.tqe_next)
#define STAILQ_FOREACH(v, h, f) for ((v) = (h)->stqh_first; (v); (v) = (v)->f.stqe_next)
