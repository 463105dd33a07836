/* SPDX-License-Identifier: Apache-2.0 */
/** Whether a text is well-formed: what a browser or a CI server's parser would stumble over. */
#ifndef TESTS_MARKUP_H
#define TESTS_MARKUP_H

#include "tests/support/plans.h"

/** Fails the test unless every element is closed in order, every & begins a known entity, attributes
 * are quoted and no raw < stands in texts. Contents of <style> are not looked at. */
void markup_is_sound(const char *text);

/** How often @part stands in @text. */
unsigned markup_count(const char *text, const char *part);

#endif
