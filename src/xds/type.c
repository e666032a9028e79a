// SPDX-License-Identifier: Apache-2.0
#include "xds/type.h"

#include "base/assert.h"
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "envoy/config/core/v3/extension.pb-c.h"
#include "envoy/config/endpoint/v3/endpoint.pb-c.h"
#include "envoy/config/listener/v3/listener.pb-c.h"
#include "envoy/config/route/v3/route.pb-c.h"
#include "envoy/extensions/transport_sockets/tls/v3/secret.pb-c.h"
#include "istio/networking/nds/v1/nds.pb-c.h"

#define URL(name) "type.googleapis.com/" name

// clang-format off
static const struct {
    const char *name;
    const char *url;
    bool is_wildcard;
    const ProtobufCMessageDescriptor *descriptor;
} table[XDS_TYPE_COUNT] = {
    [XDS_CLUSTER]          = {"CDS",  URL("envoy.config.cluster.v3.Cluster"),                        true,  &envoy__config__cluster__v3__cluster__descriptor},
    [XDS_ENDPOINT]         = {"EDS",  URL("envoy.config.endpoint.v3.ClusterLoadAssignment"),         false, &envoy__config__endpoint__v3__cluster_load_assignment__descriptor},
    [XDS_LISTENER]         = {"LDS",  URL("envoy.config.listener.v3.Listener"),                      true,  &envoy__config__listener__v3__listener__descriptor},
    [XDS_ROUTE]            = {"RDS",  URL("envoy.config.route.v3.RouteConfiguration"),               false, &envoy__config__route__v3__route_configuration__descriptor},
    [XDS_SECRET]           = {"SDS",  URL("envoy.extensions.transport_sockets.tls.v3.Secret"),       false, &envoy__extensions__transport_sockets__tls__v3__secret__descriptor},
    [XDS_EXTENSION_CONFIG] = {"ECDS", URL("envoy.config.core.v3.TypedExtensionConfig"),              false, &envoy__config__core__v3__typed_extension_config__descriptor},
    [XDS_NAME_TABLE]       = {"NDS",  URL("istio.networking.nds.v1.NameTable"),                      true,  &istio__networking__nds__v1__name_table__descriptor},
};
// clang-format on

const char *xds_type_url(enum xds_type type)
{
    ASSERT(type < XDS_TYPE_COUNT);
    return table[type].url;
}

const char *xds_type_name(enum xds_type type)
{
    return type < XDS_TYPE_COUNT ? table[type].name : "unknown";
}

enum xds_type xds_type_find(struct str url)
{
    for (enum xds_type type = 0; type < XDS_TYPE_COUNT; type++) {
        if (str_equal_c(url, table[type].url)) {
            return type;
        }
    }
    return XDS_TYPE_NONE;
}

bool xds_type_is_wildcard(enum xds_type type)
{
    ASSERT(type < XDS_TYPE_COUNT);
    return table[type].is_wildcard;
}

const ProtobufCMessageDescriptor *xds_type_descriptor(enum xds_type type)
{
    ASSERT(type < XDS_TYPE_COUNT);
    return table[type].descriptor;
}
