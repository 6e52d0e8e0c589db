/* What the describes of instances and interfaces share. */
#ifndef AWSIM_NET_H
#define AWSIM_NET_H

#include "call.h"
#include "describe.h"

void groups_xml(struct str *x, const struct eni *e);
void association_xml(struct str *x, const struct eni *e);
void addresses_xml(struct str *x, const struct eni *e);
void attachment_xml(struct str *x, const struct eni *e, bool with_instance);
void eni_v4_xml(struct str *x, const struct eni *e);
/* An interface's values by DescribeNetworkInterfaces' filter names; false: no such name. */
bool eni_values(const struct eni *e, const char *filter, struct values *out);

#endif
