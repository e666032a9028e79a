// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "lab/apiserver/protobuf.h"

// "metadata=1:ObjectMeta" is in front of every kind's own fields.
#define META "metadata=1:ObjectMeta "
#define PROBE_TIMES \
    " initialDelaySeconds=2:int timeoutSeconds=3:int periodSeconds=4:int successThreshold=5:int failureThreshold=6:int" \
    " terminationGracePeriodSeconds=7:int?"

// clang-format off
const struct protobuf_message protobuf_messages[] = {
    // kinds
    {"Namespace", META "spec=2:NamespaceSpec status=3:NamespaceStatus"},
    {"Secret", META "data=2:map-bytes type=3 stringData=4:map immutable=5:bool?"},
    {"ConfigMap", META "data=2:map binaryData=3:map-bytes immutable=4:bool?"},
    {"ServiceAccount", META "secrets=2*:ObjectReference imagePullSecrets=3*:LocalObjectReference automountServiceAccountToken=4:bool?"},
    {"Service", META "spec=2:ServiceSpec status=3:skip"},
    {"Pod", META "spec=2:PodSpec status=3:skip"},
    {"Deployment", META "spec=2:DeploymentSpec status=3:skip"},
    {"Job", META "spec=2:JobSpec status=3:skip"},
    {"Role", META "rules=2*:PolicyRule"},
    {"ClusterRole", META "rules=2*:PolicyRule aggregationRule=3:AggregationRule"},
    {"RoleBinding", META "subjects=2*:Subject roleRef=3:RoleRef"},
    {"ClusterRoleBinding", META "subjects=2*:Subject roleRef=3:RoleRef"},
    {"SelfSubjectAccessReview", META "spec=2:SelfSubjectAccessReviewSpec status=3:skip"},
    {"SubjectAccessReview", META "spec=2:SubjectAccessReviewSpec status=3:skip"},
    {"LocalSubjectAccessReview", META "spec=2:SubjectAccessReviewSpec status=3:skip"},
    {"SelfSubjectRulesReview", META "spec=2:SelfSubjectRulesReviewSpec status=3:skip"},
    {"SelfSubjectReview", META "status=2:skip"},
    {"TokenRequest", META "spec=2:TokenRequestSpec status=3:skip"},
    {"TokenReview", META "spec=2:TokenReviewSpec status=3:skip"},
    {"Eviction", META "deleteOptions=2:DeleteOptions"},
    {"Binding", META "target=2:ObjectReference"},
    {"Lease", META "spec=2:LeaseSpec"},
    {"EndpointSlice", META "endpoints=2*:Endpoint ports=3*:EndpointPort addressType=4"},
    {"Event", META "involvedObject=2:ObjectReference reason=3 message=4 source=5:EventSource firstTimestamp=6:time lastTimestamp=7:time "
              "count=8:int type=9 eventTime=10:microtime series=11:EventSeries action=12 related=13:ObjectReference "
              "reportingComponent=14 reportingInstance=15"},
    {"Scale", META "spec=2:ScaleSpec status=3:skip"},
    {"DeleteOptions", "gracePeriodSeconds=1:int? preconditions=2:Preconditions orphanDependents=3:bool? propagationPolicy=4 dryRun=5*"},

    // metadata
    {"ObjectMeta", "name=1 generateName=2 namespace=3 selfLink=4:skip uid=5 resourceVersion=6 generation=7:int creationTimestamp=8:time "
                   "deletionTimestamp=9:time deletionGracePeriodSeconds=10:int? labels=11:map annotations=12:map "
                   "ownerReferences=13*:OwnerReference finalizers=14* managedFields=17*:skip"},
    {"OwnerReference", "kind=1 name=3 uid=4 apiVersion=5 controller=6:bool? blockOwnerDeletion=7:bool?"},
    {"LabelSelector", "matchLabels=1:map matchExpressions=2*:LabelSelectorRequirement"},
    {"LabelSelectorRequirement", "key=1 operator=2 values=3*"},
    {"Preconditions", "uid=1 resourceVersion=2"},
    {"ObjectReference", "kind=1 namespace=2 name=3 uid=4 apiVersion=5 resourceVersion=6 fieldPath=7"},
    {"LocalObjectReference", "name=1"},

    // small ones of the kinds above
    {"NamespaceSpec", "finalizers=1*"},
    {"NamespaceStatus", "phase=1"},
    {"PolicyRule", "verbs=1* apiGroups=2* resources=3* resourceNames=4* nonResourceURLs=5*"},
    {"AggregationRule", "clusterRoleSelectors=1*:LabelSelector"},
    {"Subject", "kind=1 apiGroup=2 name=3 namespace=4"},
    {"RoleRef", "apiGroup=1 kind=2 name=3"},
    {"ResourceAttributes", "namespace=1 verb=2 group=3 version=4 resource=5 subresource=6 name=7"},
    {"NonResourceAttributes", "path=1 verb=2"},
    {"SelfSubjectAccessReviewSpec", "resourceAttributes=1:ResourceAttributes nonResourceAttributes=2:NonResourceAttributes"},
    {"SubjectAccessReviewSpec", "resourceAttributes=1:ResourceAttributes nonResourceAttributes=2:NonResourceAttributes user=3 groups=4* "
                                "extra=5:skip uid=6"},
    {"SelfSubjectRulesReviewSpec", "namespace=1"},
    {"TokenRequestSpec", "audiences=1* boundObjectRef=3:BoundObjectReference expirationSeconds=4:int?"},
    {"BoundObjectReference", "kind=1 apiVersion=2 name=3 uid=4"},
    {"TokenReviewSpec", "token=1 audiences=2*"},
    {"LeaseSpec", "holderIdentity=1 leaseDurationSeconds=2:int? acquireTime=3:microtime renewTime=4:microtime leaseTransitions=5:int?"},
    {"Endpoint", "addresses=1* conditions=2:EndpointConditions hostname=3 targetRef=4:ObjectReference nodeName=6 zone=7"},
    {"EndpointConditions", "ready=1:bool? serving=2:bool? terminating=3:bool?"},
    {"EndpointPort", "name=1 protocol=2 port=3:int? appProtocol=4"},
    {"EventSource", "component=1 host=2"},
    {"EventSeries", "count=1:int lastObservedTime=2:microtime"},
    {"ScaleSpec", "replicas=1:int?"},

    // services
    {"ServiceSpec", "ports=1*:ServicePort selector=2:map clusterIP=3 type=4 externalIPs=5* sessionAffinity=7 loadBalancerIP=8 "
                    "loadBalancerSourceRanges=9* externalName=10 externalTrafficPolicy=11 healthCheckNodePort=12:int "
                    "publishNotReadyAddresses=13:bool sessionAffinityConfig=14:SessionAffinityConfig ipFamilyPolicy=17 clusterIPs=18* "
                    "ipFamilies=19* allocateLoadBalancerNodePorts=20:bool? loadBalancerClass=21 internalTrafficPolicy=22 "
                    "trafficDistribution=23"},
    {"ServicePort", "name=1 protocol=2 port=3:int targetPort=4:intorstring nodePort=5:int appProtocol=6"},
    {"SessionAffinityConfig", "clientIP=1:ClientIPConfig"},
    {"ClientIPConfig", "timeoutSeconds=1:int?"},

    // workloads
    {"DeploymentSpec", "replicas=1:int? selector=2:LabelSelector template=3:PodTemplateSpec strategy=4:DeploymentStrategy "
                       "minReadySeconds=5:int revisionHistoryLimit=6:int? paused=7:bool progressDeadlineSeconds=9:int?"},
    {"DeploymentStrategy", "type=1 rollingUpdate=2:RollingUpdateDeployment"},
    {"RollingUpdateDeployment", "maxUnavailable=1:intorstring maxSurge=2:intorstring"},
    {"JobSpec", "parallelism=1:int? completions=2:int? activeDeadlineSeconds=3:int? selector=4:LabelSelector manualSelector=5:bool? "
                "template=6:PodTemplateSpec backoffLimit=7:int? ttlSecondsAfterFinished=8:int?"},
    {"PodTemplateSpec", META "spec=2:PodSpec"},
    {"PodSpec", "volumes=1*:Volume containers=2*:Container restartPolicy=3 terminationGracePeriodSeconds=4:int? activeDeadlineSeconds=5:int? "
                "dnsPolicy=6 nodeSelector=7:map serviceAccountName=8 serviceAccount=9 nodeName=10 hostNetwork=11:bool hostPID=12:bool "
                "hostIPC=13:bool securityContext=14:PodSecurityContext imagePullSecrets=15*:LocalObjectReference hostname=16 subdomain=17 "
                "schedulerName=19 initContainers=20*:Container automountServiceAccountToken=21:bool? tolerations=22*:Toleration "
                "hostAliases=23*:HostAlias priorityClassName=24 priority=25:int? shareProcessNamespace=27:bool? runtimeClassName=29 "
                "enableServiceLinks=30:bool? preemptionPolicy=31"},
    {"Toleration", "key=1 operator=2 value=3 effect=4 tolerationSeconds=5:int?"},
    {"HostAlias", "ip=1 hostnames=2*"},
    {"PodSecurityContext", "runAsUser=2:int? runAsNonRoot=3:bool? supplementalGroups=4*:int fsGroup=5:int? runAsGroup=6:int? sysctls=7*:Sysctl"},
    {"Sysctl", "name=1 value=2"},
    {"Container", "name=1 image=2 command=3* args=4* workingDir=5 ports=6*:ContainerPort env=7*:EnvVar resources=8:ResourceRequirements "
                  "volumeMounts=9*:VolumeMount livenessProbe=10:Probe readinessProbe=11:Probe lifecycle=12:Lifecycle terminationMessagePath=13 "
                  "imagePullPolicy=14 securityContext=15:SecurityContext stdin=16:bool stdinOnce=17:bool tty=18:bool envFrom=19*:EnvFromSource "
                  "terminationMessagePolicy=20 volumeDevices=21*:VolumeDevice startupProbe=22:Probe restartPolicy=24"},
    {"ContainerPort", "name=1 hostPort=2:int containerPort=3:int protocol=4 hostIP=5"},
    {"VolumeMount", "name=1 readOnly=2:bool mountPath=3 subPath=4 mountPropagation=5 subPathExpr=6"},
    {"VolumeDevice", "name=1 devicePath=2"},
    {"EnvVar", "name=1 value=2 valueFrom=3:EnvVarSource"},
    {"EnvVarSource", "fieldRef=1:ObjectFieldSelector resourceFieldRef=2:ResourceFieldSelector configMapKeyRef=3:KeySelector secretKeyRef=4:KeySelector"},
    {"ObjectFieldSelector", "apiVersion=1 fieldPath=2"},
    {"ResourceFieldSelector", "containerName=1 resource=2 divisor=3:quantity"},
    {"KeySelector", "-=1:LocalObjectReference key=2 optional=3:bool?"},
    {"EnvFromSource", "prefix=1 configMapRef=2:OptionalReference secretRef=3:OptionalReference"},
    {"OptionalReference", "-=1:LocalObjectReference optional=2:bool?"},
    {"ResourceRequirements", "limits=1:map-quantity requests=2:map-quantity"},
    {"SecurityContext", "capabilities=1:Capabilities privileged=2:bool? runAsUser=4:int? runAsNonRoot=5:bool? readOnlyRootFilesystem=6:bool? "
                        "allowPrivilegeEscalation=7:bool? runAsGroup=8:int?"},
    {"Capabilities", "add=1* drop=2*"},
    {"Lifecycle", "postStart=1:ProbeHandler preStop=2:ProbeHandler"},
    {"Probe", "-=1:ProbeHandler" PROBE_TIMES},
    {"ProbeHandler", "exec=1:ExecAction httpGet=2:HTTPGetAction tcpSocket=3:TCPSocketAction grpc=4:GRPCAction"},
    {"ExecAction", "command=1*"},
    {"HTTPGetAction", "path=1 port=2:intorstring host=3 scheme=4 httpHeaders=5*:HTTPHeader"},
    {"HTTPHeader", "name=1 value=2"},
    {"TCPSocketAction", "port=1:intorstring host=2"},
    {"GRPCAction", "port=1:int service=2"},
    {"Volume", "name=1 -=2:VolumeSource"},
    {"VolumeSource", "hostPath=1:HostPathSource emptyDir=2:EmptyDirSource secret=6:SecretSource persistentVolumeClaim=10:ClaimSource "
                     "configMap=19:ConfigMapSource"},
    {"HostPathSource", "path=1 type=2"},
    {"EmptyDirSource", "medium=1 sizeLimit=2:quantity"},
    {"SecretSource", "secretName=1 items=2*:KeyToPath defaultMode=3:int? optional=4:bool?"},
    {"ClaimSource", "claimName=1 readOnly=2:bool"},
    {"ConfigMapSource", "-=1:LocalObjectReference items=2*:KeyToPath defaultMode=3:int? optional=4:bool?"},
    {"KeyToPath", "key=1 path=2 mode=3:int?"},
};
// clang-format on

const size_t protobuf_message_count = array_count(protobuf_messages);

const struct protobuf_message *protobuf_message_find(struct str name)
{
    for (size_t i = 0; i < protobuf_message_count; i++) {
        if (str_equal_c(name, protobuf_messages[i].name)) {
            return &protobuf_messages[i];
        }
    }
    return NULL;
}

bool protobuf_field_next(struct str *rest, struct protobuf_field *ret_field)
{
    struct str word = STR_EMPTY;
    while (rest->data != NULL && word.size == 0) {
        word = str_split(rest, ' ');
    }
    if (word.size == 0) {
        return false;
    }
    struct str type = word;
    struct str name = str_split(&type, '=');
    struct str digits = str_split(&type, ':');
    uint64_t number = 0;
    ret_field->is_repeated = str_ends_with(digits, STR("*"));
    digits = str_sub(digits, 0, digits.size - (ret_field->is_repeated ? 1 : 0));
    ret_field->number = str_to_u64(digits, &number) && number <= UINT32_MAX ? (uint32_t)number : 0;
    ret_field->name = name;
    ret_field->type = str_is_empty(type) ? STR("string") : type;
    return true;
}
